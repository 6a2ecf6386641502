import assert from 'node:assert/strict'
import { test } from 'node:test'
import { middleSquare, reduce, reduction } from './pixels.js'

/** Grey RGBA pixels. */
const grey = values => Uint8Array.from(values.flatMap(v => [v, v, v, 255]))

test('a small picture is not reduced', () => {
  assert.equal(reduction(1600, 1200, 64), 1)
})

test('a large picture is reduced to two million pixels', () => {
  assert.equal(reduction(4000, 3000, 64), 3)
})

test('a reduced picture stays four times as large as what the model looks at', () => {
  assert.equal(reduction(4000, 3000, 500), 1)
  assert.equal(reduction(40_000, 300, 64), 1)
})

test('blocks are averaged, and those at the border are smaller', () => {
  const found = reduce(grey([0, 10, 100, 20, 30, 200]), 3, 2, 2)
  assert.deepEqual([...found], [15, 15, 15, 150, 150, 150])
})

test('colours stay apart and alpha is dropped', () => {
  assert.deepEqual([...reduce(Uint8Array.from([1, 2, 3, 255, 4, 5, 6, 255]), 2, 1, 1)], [1, 2, 3, 4, 5, 6])
})

test('the middle square of a wide picture', () => {
  const data = Uint8Array.from([9, 1, 2, 9].flatMap(v => [v, v, v]).concat([9, 3, 4, 9].flatMap(v => [v, v, v])))
  const found = middleSquare({ data, width: 4, height: 2 }, 2)
  assert.deepEqual([...found].filter((_, i) => i % 3 === 0), [1, 2, 3, 4])
})

test('the middle square, made smaller and larger', () => {
  const data = Uint8Array.from([10, 20, 30, 40].flatMap(v => [v, 0, v]))
  assert.deepEqual([...middleSquare({ data, width: 2, height: 2 }, 1)], [25, 0, 25])
  const larger = middleSquare({ data, width: 2, height: 2 }, 4)
  assert.deepEqual([...larger].filter((_, i) => i % 3 === 0).slice(0, 4), [10, 10, 20, 20])
})
