// node --test fastcnn/web/network
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { borderColour, centred, covered, fromBytes, inkOf, moved, normalised, shrunk, toBytes } from './pictures.js'

const picture = (rows) => ({
  channels: 1,
  rows: rows.length,
  columns: rows[0].length,
  values: Float32Array.from(rows.flat()),
})
const blank = (side) => picture(Array.from({ length: side }, () => Array(side).fill(0)))
const near = (found, wanted, margin = 1e-6) => {
  assert.equal(found.length, wanted.length)
  found.forEach((value, i) => {
    assert.ok(Math.abs(value - wanted[i]) <= margin, `${value} at ${i}, not ${wanted[i]}`)
  })
}
const DOT = picture([
  [0, 0, 0],
  [0, 0, 1],
  [0, 0, 0],
])

test('bytes of a canvas become a picture and come back, grey as three equal colours', () => {
  const bytes = Uint8ClampedArray.from([255, 0, 51, 255, 0, 102, 255, 255])
  const colours = fromBytes(bytes, 1, 2, 3)
  near(colours.values, [1, 0, 0, 0.4, 0.2, 1])
  assert.deepEqual(toBytes(colours), bytes)
  assert.deepEqual(Array.from(toBytes(fromBytes(bytes, 1, 2, 1))), [255, 255, 255, 255, 0, 0, 0, 255])
})

test('a picture that is not moved stays the same object', () => assert.equal(moved(DOT, {}), DOT))

test('it moves by whole pixels, and leaves the border colour behind', () => {
  const grey = { ...DOT, values: DOT.values.map((value) => value || 0.25) }
  assert.deepEqual(borderColour(grey), [0.25])
  near(moved(grey, { right: -1, down: 1 }).values, [0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 1, 0.25])
})

test('it turns clockwise about its middle', () => {
  near(moved(DOT, { turn: 90 }).values, [0, 0, 0, 0, 0, 0, 0, 1, 0])
  near(moved(DOT, { turn: 180 }).values, [0, 0, 0, 1, 0, 0, 0, 0, 0])
})

test('it grows and shrinks about its middle', () => {
  const square = blank(8)
  for (const i of [27, 28, 35, 36]) square.values[i] = 1
  const mass = (it) => it.values.reduce((sum, value) => sum + value, 0)
  assert.ok(Math.abs(mass(moved(square, { size: 2 })) / mass(square) - 4) < 0.5)
  assert.ok(Math.abs(mass(moved(square, { size: 0.5 })) / mass(square) - 0.25) < 0.05)
})

test('a square of one colour hides a part, also at the edge, and leaves the picture itself alone', () => {
  const hidden = covered(DOT, { side: 2, row: 1, column: 2 }, [0.5])
  near(hidden.values, [0, 0.5, 0.5, 0, 0.5, 0.5, 0, 0, 0])
  assert.equal(DOT.values[5], 1)
  assert.equal(covered(DOT, { side: 0, row: 1, column: 1 }, [0.5]), DOT)
})

test('a drawing shrinks by averaging', () => {
  const rows = Array.from({ length: 8 }, (_, y) => Array.from({ length: 8 }, (_, x) => (x < 4 && y < 2 ? 1 : 0)))
  near(shrunk(picture(rows), 2, 2).values, [0.5, 0, 0, 0])
  const two = { channels: 2, rows: 2, columns: 2, values: Float32Array.of(1, 0, 0, 1, 0, 0, 0, 1) }
  near(shrunk(two, 1, 1).values, [0.5, 0.25])
})

test('as MNIST: 20 of 28 pixels, the centre of mass in the middle', () => {
  const drawing = blank(280)
  for (let y = 20; y < 60; y++) for (let x = 200; x < 210; x++) drawing.values[y * 280 + x] = 1
  const ink = inkOf(centred(drawing, 28, 28))
  const [height, width] = [ink.bottom - ink.top + 1, ink.right - ink.left + 1]
  assert.ok(height >= 20 && height <= 22 && width >= 5 && width <= 7) // 20 × 5, and the pixels half covered
  assert.ok(Math.abs(ink.y - 13.5) < 0.05 && Math.abs(ink.x - 13.5) < 0.05)
  assert.equal(inkOf(blank(3)), null)
  near(centred(blank(28), 28, 28).values, blank(28).values)
})

test('the network takes each colour minus its mean, divided by its standard deviation', () => {
  const two = { channels: 2, rows: 1, columns: 1, values: Float32Array.of(0.5, 0.75) }
  near(normalised(two, [0.25, 0.5], [0.5, 0.25]).values, [0.5, 1])
})
