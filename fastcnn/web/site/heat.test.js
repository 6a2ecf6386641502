import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cellsFor, cover, heatOf, logOdds, mapOf, meanColour, windows } from './heat.js'

test('a slow device gets a coarser map, but never fewer than 7 cells', () => {
  assert.equal(cellsFor(1, 224), 14)
  assert.equal(cellsFor(50, 224), 11)
  assert.equal(cellsFor(5000, 224), 7)
  assert.equal(cellsFor(1, 20), 10)
})

test('the mean colour', () => {
  assert.deepEqual(meanColour(Uint8Array.from([0, 10, 20, 100, 30, 40])), [50, 20, 30])
})

test('windows overlap by half and reach all corners', () => {
  const found = windows(3)
  assert.deepEqual(found, [[0, 0], [1, 0], [0, 1], [1, 1]])
})

test('a window is covered, and the picture itself is left as it was', () => {
  const image = new Uint8Array(4 * 4 * 3)
  const covered = cover(image, [1, 0], 4, [1, 2, 3], 4)
  const changed = [...covered.keys()].filter(i => covered[i] !== 0).map(i => Math.floor(i / 3))
  assert.deepEqual([...new Set(changed)], [1, 2, 5, 6])
  assert.deepEqual([...covered.slice(3, 6)], [1, 2, 3])
  assert.ok(image.every(value => value === 0))
})

test('log-odds of two pictures', () => {
  const found = logOdds(Float32Array.from([0.5, 0.25, 0.25, 0.8, 0.1, 0.1]), 2, 0)
  assert.ok(Math.abs(found[0]) < 1e-6)
  assert.ok(Math.abs(found[1] - Math.log(4)) < 1e-5)
})

test('log-odds stay finite where the model is certain', () => {
  assert.ok(logOdds(Float32Array.from([1, 0]), 1, 0).every(Number.isFinite))
})

test('a cell is as hot as the windows that cover it', () => {
  assert.deepEqual([...heatOf([4, 0, 0, 0], 3)], [4, 2, 0, 2, 1, 0, 0, 0, 0])
  assert.ok(heatOf(Array(36).fill(2), 7).every(value => value === 2))
})

test('each class has a map of its own, and the strongest spot of one is the coldest of the only other', () => {
  const covered = Float32Array.from([0.1, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]) // the first window matters to class 0
  const maps = [0, 1].map(best => mapOf({ cells: 3, whole: Float32Array.from([0.5, 0.5]), covered }, best).map)
  assert.ok(Math.abs(maps[0][0] - Math.log(9)) < 1e-5 && Math.abs(maps[0][8]) < 1e-6)
  assert.ok(maps[0].every((value, i) => Math.abs(value + maps[1][i]) < 1e-5))
})
