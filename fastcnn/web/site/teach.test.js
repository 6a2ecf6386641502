import assert from 'node:assert/strict'
import { test } from 'node:test'
import { calibrate, extend, fit, readKnown, shares, unit } from './teach.js'

/** Numbers that look random, the same each time: between -1 and 1 */
function numbers(seed) {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 31 - 1
  }
}
const D = 12
/** n pictures around an axis */
const around = (axis, n, seed, spread = 0.25) => {
  const next = numbers(seed)
  return Array.from({ length: n }, () => Float64Array.from({ length: D }, (_, i) => Number(i === axis) + spread * next()))
}
const KNOWN = { rows: [...around(0, 12, 1), ...around(1, 12, 2)].map(unit), classes: [...Array(12).fill(0), ...Array(12).fill(1)], strangers: around(7, 20, 6, 1).map(unit) }
const flat = rows => Float32Array.from(rows.flatMap(row => [...row]))
const said = (taught, rows, p = [0.75, 0.25], novelty = 5) => extend(taught, {
  features: flat(rows), probabilities: Float32Array.from(rows.flatMap(() => p)), novelty: Float32Array.from(rows, () => novelty) }, 2)

test('a class is taught by a few pictures, and the own classes share the rest as before', () => {
  const taught = fit(KNOWN, [{ name: 'new', features: around(2, 6, 3) }])
  const { probabilities } = said(taught, [...around(2, 1, 9), ...around(0, 1, 10)])
  assert.ok(probabilities[2] > 0.7 && probabilities[5] < 0.3)
  assert.ok(Math.abs(probabilities[3] / probabilities[4] - 3) < 1e-4)
  assert.ok(Math.abs(probabilities[0] + probabilities[1] + probabilities[2] - 1) < 1e-6)
})

test('leaving one out tells what a class that was learnt without it says', () => {
  const lessons = [{ name: 'new', features: around(2, 6, 3, 0.9) }, { name: 'other', features: around(3, 5, 4, 0.9) }]
  const { report } = fit(KNOWN, lessons, false)
  assert.deepEqual(report.classes.map(c => [c.name, c.n, c.right + c.others.reduce((sum, other) => sum + other.n, 0)]), [['new', 6, 6], ['other', 5, 5]])
  const outlier = [...around(2, 6, 3), around(0, 1, 5)[0]] // a picture of an own class among them
  const told = fit(KNOWN, [{ name: 'new', features: outlier }], false).report
  assert.deepEqual(told.classes[0].others, [{ own: 0, n: 1 }])
  assert.deepEqual([told.classes[0].right, told.own.n], [6, 24])
  const { right, refused, n } = fit(KNOWN, [{ name: 'new', features: outlier }]).report.classes[0] // of a model that refuses
  assert.ok(right + refused <= n && refused > 0)
})

test('two names for the same thing overlap', () => {
  const { report } = fit(KNOWN, [{ name: 'a', features: around(2, 10, 3) }, { name: 'b', features: around(2, 10, 4) }])
  const crossed = report.classes.flatMap(c => c.others).filter(other => other.taught).reduce((sum, other) => sum + other.n, 0)
  assert.ok(crossed >= 5, `${crossed} crossed`)
})

test('what is near to a taught picture is no longer none of these, and what is far stays it', () => {
  const pictures = around(2, 6, 3)
  const taught = fit(KNOWN, [{ name: 'new', features: pictures }])
  const found = said(taught, [pictures[0], ...around(7, 1, 8)])
  assert.ok(found.novelty[0] <= 2 && found.novelty[1] > 2, found.novelty.join())
  assert.ok(said(taught, around(0, 1, 10), [0.75, 0.25], 1).novelty[0] <= 1) // nothing becomes newer than it was
})

test('one picture is learnt, but nothing near to it is let in', () => {
  const taught = fit(KNOWN, [{ name: 'new', features: around(2, 1, 3) }])
  assert.deepEqual([taught.report.classes[0].right, taught.near[0].least], [0, 1])
})

test('copies of a picture are counted', () => {
  const one = around(2, 4, 3)
  assert.equal(fit(KNOWN, [{ name: 'new', features: [...one, one[0].map(value => value * 1.001)] }]).report.classes[0].copies, 2)
})

test('margins become probabilities that are never sure', () => {
  const { line } = calibrate([[-1], [-2], [-1], [1], [2]], [0, 0, 0, 1, 1], 1)
  const p = shares([2], line)[1]
  assert.ok(line[0] > 0 && p > 0.7 && p < 0.9, `${line} ${p}`)
})

test('the features of a model are read', () => {
  const head = new TextEncoder().encode(JSON.stringify({ features: { dtype: 'F16', shape: [2, 2], data_offsets: [0, 8] }, classes: { dtype: 'I32', shape: [2], data_offsets: [8, 16] },
    strangers: { dtype: 'F16', shape: [1, 2], data_offsets: [16, 20] } }))
  const bytes = new Uint8Array(8 + head.length + 20)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(head.length), true)
  bytes.set(head, 8)
  for (const [i, bits] of [0x3c00, 0x0000, 0xb800, 0x3800].entries()) view.setUint16(8 + head.length + 2 * i, bits, true)
  view.setInt32(8 + head.length + 12, 1, true)
  view.setUint16(8 + head.length + 18, 0x3800, true)
  const { rows, classes, strangers } = readKnown(bytes)
  assert.deepEqual([[...rows[0]], classes, strangers.map(row => [...row])], [[1, 0], [0, 1], [[0, 1]]])
  assert.ok(Math.abs(rows[1][0] + Math.SQRT1_2) < 1e-12)
})

test('a class of very different pictures does not let in what is farther away than the own pictures are', () => {
  const mixed = [2, 2, 0, 7].map((axis, i) => around(axis, 1, 20 + i)[0]) // one looks like an own class
  const taught = fit(KNOWN, [{ name: 'mixed', features: mixed }])
  const places = KNOWN.rows.map(row => unit(row.map((value, i) => value - taught.home[i])))
  const let_in = places.filter(place => taught.near[0].rows.some(row => row.reduce((sum, value, i) => sum + value * place[i], 0) > taught.near[0].least)).length
  assert.ok(let_in <= 2, `${let_in} of 24`)
  assert.ok(taught.report.classes[0].refused > 0)
})

test('a class lets in no more than one in twenty of the strangers', () => {
  const pictures = [...around(2, 4, 3, 0.9), ...around(7, 1, 30)] // one lies where the strangers are
  const strangers = Array.from({ length: 40 }, (_, i) => unit(around(7, 1, 40 + i, 0.9)[0]))
  const letIn = known => said(fit(known, [{ name: 'new', features: pictures }]), strangers).novelty.filter(value => value <= 2).length
  assert.ok(letIn({ ...KNOWN, strangers }) <= 2 && letIn({ ...KNOWN, strangers: KNOWN.rows }) > 10)
})
