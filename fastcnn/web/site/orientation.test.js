import assert from 'node:assert/strict'
import { test } from 'node:test'
import { upright, webpOrientation } from './orientation.js'

const ascii = word => [...word].map(c => c.charCodeAt(0))
const bytes4 = n => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >> 24]

/** A WebP of an empty picture and EXIF */
function webp(exif) {
  const chunks = [...ascii('VP8X'), ...bytes4(1), 0, 0, ...ascii('EXIF'), ...bytes4(exif.length), ...exif]
  return Uint8Array.from([...ascii('RIFF'), ...bytes4(chunks.length + 4), ...ascii('WEBP'), ...chunks])
}

const little = value => [...ascii('II'), 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, value, 0, 0, 0]
const big = value => [...ascii('MM'), 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0]

test('the orientation of a WebP is read in both byte orders, with and without a heading', () => {
  for (const exif of [little(6), big(6), [...ascii('Exif'), 0, 0, ...big(6)]]) assert.equal(webpOrientation(webp(exif)), 6)
})

test('what says nothing or nonsense stands as it is', () => {
  assert.equal(webpOrientation(webp([])), 1)
  assert.equal(webpOrientation(webp(little(9))), 1)
  assert.equal(webpOrientation(webp(little(6).slice(0, 12))), 1)
})

test('other formats are left to the browser', () => {
  assert.equal(webpOrientation(Uint8Array.from([0xff, 0xd8, ...ascii('JFIF, and more')])), undefined)
})

test('the corner that was left and above goes where EXIF says', () => {
  const corner = orientation => {
    const [a, b, c, d, e, f] = upright(orientation, 4, 2)
    return [(a + c) / 2 + e, (b + d) / 2 + f] // of the first pixel's middle
  }
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7, 8].map(corner), [
    [0.5, 0.5], [3.5, 0.5], [3.5, 1.5], [0.5, 1.5], [0.5, 0.5], [1.5, 0.5], [1.5, 3.5], [0.5, 3.5],
  ])
})
