// node --test fastcnn/web/explorer
import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  correlate,
  DEFAULTS,
  fromHash,
  outputSize,
  paddedValue,
  placesAt,
  pool,
  rowsOf,
  shortNumber,
  sideOf,
  sourceIndex,
  sumOfProducts,
  toHash,
  toPython,
  whyImpossible,
  windowAt,
} from './arithmetic.js'

const PLAIN = { stride: 1, padding: 0, mode: 'zeros', dilation: 1 }
const mapOf = (rows) => ({ rows: rows.length, columns: rows[0].length, values: rows.flat() })
const IMAGE = mapOf([
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [9, 10, 11, 12],
])

test('the side of a kernel is the root of its weights', () => {
  for (const side of [1, 2, 3, 4, 5]) assert.equal(sideOf(Array(side * side).fill(0)), side)
})

test('output sizes follow the formula, rounded down', () => {
  assert.equal(outputSize(9, 3, PLAIN), 7)
  assert.equal(outputSize(10, 3, { stride: 2 }), 4)
  assert.equal(outputSize(9, 3, { stride: 2, padding: 1, dilation: 2 }), Math.floor((9 + 2 - 4 - 1) / 2) + 1)
  assert.ok(outputSize(2, 3, PLAIN) < 1)
})

test('each padding mode names the pixel that torch takes', () => {
  const row = (mode) => [-2, -1, 0, 1, 2, 3, 4, 5].map((i) => sourceIndex(i, 4, mode))
  assert.deepEqual(row('zeros'), [-1, -1, 0, 1, 2, 3, -1, -1])
  assert.deepEqual(row('reflect'), [2, 1, 0, 1, 2, 3, 2, 1])
  assert.deepEqual(row('replicate'), [0, 0, 0, 1, 2, 3, 3, 3])
  assert.deepEqual(row('circular'), [2, 3, 0, 1, 2, 3, 0, 1])
})

test('a window lists its pixels row by row, and where it hangs over the edge', () => {
  assert.deepEqual(windowAt(IMAGE, 2, 1, 2, PLAIN), [
    [1, 2, 7],
    [1, 3, 8],
    [2, 2, 11],
    [2, 3, 12],
  ])
  assert.deepEqual(windowAt(IMAGE, 2, 0, 0, { ...PLAIN, padding: 1 }), [
    [-1, -1, 0],
    [-1, -1, 0],
    [-1, -1, 0],
    [0, 0, 1],
  ])
  const apart = windowAt(IMAGE, 2, 0, 1, { ...PLAIN, dilation: 2 }).map(([, , value]) => value)
  assert.deepEqual(apart, [2, 4, 10, 12])
})

test('correlation multiplies and adds up, first weight with first pixel', () => {
  assert.equal(sumOfProducts(windowAt(IMAGE, 2, 0, 0, PLAIN), [1, 10, 100, 1000]), 1 + 20 + 500 + 6000)
  const out = correlate(IMAGE, [-1, 1, 0, 0], PLAIN)
  assert.deepEqual(out, { rows: 2, columns: 3, values: Array(6).fill(1) })
  assert.deepEqual(correlate(IMAGE, [1], { ...PLAIN, stride: 2 }).values, [1, 3, 9, 11])
})

test('padding with zeros keeps the size and darkens the border', () => {
  const out = correlate(IMAGE, Array(9).fill(1), { ...PLAIN, padding: 1 })
  assert.deepEqual([out.rows, out.columns], [3, 4])
  assert.equal(out.values[0], 1 + 2 + 5 + 6)
  assert.equal(out.values[5], 1 + 2 + 3 + 5 + 6 + 7 + 9 + 10 + 11)
})

test('poolings keep the largest, the average, the length', () => {
  assert.deepEqual(pool(IMAGE, 'max', 2, 2), { rows: 1, columns: 2, values: [6, 8] })
  assert.deepEqual(pool(IMAGE, 'avg', 2, 2).values, [14 / 4, 22 / 4])
  const length = Math.sqrt(1 + 4 + 25 + 36)
  assert.ok(Math.abs(pool(IMAGE, 'l2', 2, 2).values[0] - length) < 1e-12)
})

test('what cannot be is said in words, and only that', () => {
  assert.equal(whyImpossible(IMAGE, 3, PLAIN, 1), '')
  assert.match(whyImpossible(IMAGE, 3, { ...PLAIN, padding: 3, mode: 'reflect' }, 0), /below the side of the image, 3/)
  assert.equal(whyImpossible(IMAGE, 3, { ...PLAIN, padding: 2, mode: 'reflect' }, 0), '')
  assert.match(
    whyImpossible(IMAGE, 3, { ...PLAIN, padding: 4, mode: 'circular' }, 0),
    /at most the side of the image, 3/,
  )
  assert.equal(whyImpossible(IMAGE, 3, { ...PLAIN, padding: 3, mode: 'circular' }, 0), '')
  assert.match(whyImpossible(IMAGE, 3, { ...PLAIN, dilation: 2 }, 0), /covers 5 pixels, more than the 3/)
  assert.match(whyImpossible(IMAGE, 2, PLAIN, 3), /window of 3 is larger than the map of 2/)
})

test('numbers are short and have a real minus sign', () => {
  assert.equal(shortNumber(-1 / 3), '\u22120.333')
  assert.equal(shortNumber(2), '2')
})

test('places under a window are counted from the image, and may lie beyond it', () => {
  assert.deepEqual(placesAt(2, 0, 1, { ...PLAIN, padding: 1, stride: 2 }), [
    [-1, 1],
    [-1, 2],
    [0, 1],
    [0, 2],
  ])
  const apart = placesAt(3, 1, 0, { ...PLAIN, dilation: 2 })
  assert.deepEqual([apart[0], apart[8]], [
    [1, 0],
    [5, 4],
  ])
})

test('each cell of the padding has the value that its mode puts there', () => {
  const topRow = (mode) => [-1, 0, 1, 2, 3, 4].map((column) => paddedValue(IMAGE, -1, column, mode))
  assert.deepEqual(topRow('zeros'), [0, 0, 0, 0, 0, 0])
  assert.deepEqual(topRow('reflect'), [6, 5, 6, 7, 8, 7])
  assert.deepEqual(topRow('replicate'), [1, 1, 2, 3, 4, 4])
  assert.deepEqual(topRow('circular'), [12, 9, 10, 11, 12, 9])
  assert.equal(paddedValue(IMAGE, -5, 0, 'reflect'), 0) // no such padding, and no error
})

const OTHERS = [
  {},
  { picture: 'a disc', size: 12 },
  { stride: 2, padding: 3, mode: 'reflect', dilation: 2, flipped: true, relu: true },
  { pool: 'avg', pool_size: 3, pool_stride: 1 },
  { kernel: [1, 2, 3, -4.5] },
  { picture: 'drawn', image: IMAGE, kernel: Array(9).fill(1 / 9) },
]

test('an address says all settings, and gives them back', () => {
  assert.equal(toHash(DEFAULTS), '#picture=a+bar')
  for (const changed of OTHERS) {
    const { image, kernel, ...rest } = { ...DEFAULTS, ...changed }
    const back = fromHash(toHash({ image, kernel, ...rest }))
    assert.deepEqual(back.image, image && rowsOf(image.values, image.columns))
    back.kernel.flat().forEach((value, i) => {
      assert.ok(Math.abs(value - kernel[i]) < 1e-6)
    })
    for (const [name, value] of Object.entries(rest)) if (!image || name !== 'picture') assert.equal(back[name], value)
  }
})

test('what an address says wrongly is left at its default', () => {
  assert.equal(fromHash(''), null)
  assert.equal(fromHash('#stride=0&padding=x&colour=red&kernel=1,2&image=1;2&mode=odd&pool=__proto__'), null)
  for (const text of ['stride=99', 'size=1e1', 'kernel=1,2;3', 'kernel=,', 'image=1,1;1,1', `image=${'1,'.repeat(99)}1`])
    assert.equal(fromHash(`#${text}`), null, text)
  assert.equal(fromHash('#stride=3&padding=-1').padding, 0)
})

test('the call in Python says what differs from the defaults', () => {
  assert.equal(toPython(DEFAULTS), 'explore_convolution()')
  const call = toPython({ ...DEFAULTS, picture: 'a disc', kernel: [1, 0, 0, -0.5], stride: 2, relu: true, pool: 'max' })
  const kernel = 'kernel=[[1, 0], [0, -0.5]]'
  assert.equal(call, `explore_convolution(${kernel}, picture='a disc', stride=2, relu=True, pool='max')`)
  const drawn = toPython({ ...DEFAULTS, picture: 'drawn', image: { rows: 1, columns: 2, values: [0, 0.25] } })
  assert.equal(drawn, 'explore_convolution(image=[[0, 0.25]])')
})
