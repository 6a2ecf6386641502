import assert from 'node:assert/strict'
import { test } from 'node:test'
import { advice, interval, overlaps, verdict } from './verdict.js'

test('a share of few pictures is uncertain', () => {
  const rounded = interval(8, 10).map(share => Number(share.toFixed(3)))
  assert.deepEqual(rounded, [0.49, 0.943])
  assert.ok(interval(10, 10)[0] < 0.75 && interval(0, 5)[1] > 0.4)
})

test('too few pictures are called that', () => {
  assert.match(verdict({ n: 3, right: 3, copies: 0 }), /3 pictures: too few.* 2 more/)
  assert.match(verdict(undefined), /Show it/)
})

test('what is recognised is told with its interval, and copies make it too kind', () => {
  assert.match(verdict({ n: 10, right: 8, copies: 0 }), /^8 of 10 .*80% \(95% interval 49% to 94%\)\.$/)
  assert.match(verdict({ n: 10, right: 8, copies: 4 }), /4 of them are nearly copies/)
})

test('classes that overlap are named, taught ones and own ones', () => {
  const classes = [{ name: 'a', n: 10, others: [{ taught: 'b', n: 3 }, { own: 1, n: 1 }] }, { name: 'b', n: 8, others: [{ own: 1, n: 2 }] }]
  const found = overlaps({ classes }, ['ants', 'bees'])
  assert.equal(found.length, 2)
  assert.match(found[0], /a and b overlap: 3 of 10/)
  assert.match(found[1], /b and bees overlap: 2 of 8/)
})

test('what becomes of the own classes is told', () => {
  assert.match(advice({ classes: [{ n: 9, refused: 0 }], own: { n: 100, lost: 2 } }), /^2 of 100 .* one in 10 true/)
  assert.match(advice({ classes: [{ n: 9, refused: 0 }, { n: 4, refused: 0 }], own: { n: 100, lost: 0 } }), /^None of 100 .* one in 10 to one in 5 true/)
  assert.match(advice({ classes: [{ n: 1 }], own: { n: 100, lost: 0 } }), /nearly all true pictures/)
  assert.match(advice({ classes: [{ n: 9, refused: 2 }], own: { n: 100, lost: 0 } }), /differ from yours as much as some of yours do/)
  assert.doesNotMatch(advice({ classes: [{ n: 9, refused: 2 }], own: { n: 100, lost: 0 } }, false), /none of these/)
})
