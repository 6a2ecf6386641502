import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cameraTrouble, factor, percent, place } from './words.js'

test('percent', () => {
  assert.deepEqual([0.5, 0.9994, 0.9996, 1, 0.0004, 0].map(percent), ['50.0%', '99.9%', '> 99.9%', '> 99.9%', '< 0.1%', '< 0.1%'])
})

test('the hottest place in words', () => {
  const at = i => place({ cells: 7, map: Array.from({ length: 49 }, (_, k) => Number(k === i)) })
  assert.deepEqual([0, 6, 24, 45, 27].map(at), ['at the top left', 'at the top right', 'in the middle', 'at the bottom centre', 'at the middle right'])
})

test('why there is no camera', () => {
  assert.match(cameraTrouble('NotFoundError'), /No camera was found/)
  assert.match(cameraTrouble('NotReadableError'), /cannot be used now/)
})

test('how much odds change', () => {
  assert.deepEqual([0, Math.log(2), Math.log(11.6), 9].map(factor), ['1.0', '2.0', '12', '> 1000'])
})
