// node --test fastcnn/web/descent
import assert from 'node:assert/strict'
import { test } from 'node:test'

import { CURVES, isInside, nextStep, shortNumber, walkFrom, whereabouts } from './arithmetic.js'

const walk = (curve, w, rate, momentum, steps) => {
  const seen = [walkFrom(w)]
  for (let i = 0; i < steps; i++) seen.push(nextStep(seen.at(-1), curve, rate, momentum))
  return seen
}
const near = (found, wanted, by = 1e-9) => assert.ok(Math.abs(found - wanted) < by, `${found}, not ${wanted}`)
const bowl = CURVES.thermometer

test('each slope is that of its loss, measured by a nudge', () => {
  for (const curve of Object.values(CURVES))
    for (let w = curve.from; w <= curve.to; w += 0.1)
      near(curve.slope(w), (curve.loss(w + 1e-5) - curve.loss(w - 1e-5)) / 2e-5, 1e-5)
})

test('each best weight has no slope, and no weight drawn has a smaller loss', () => {
  for (const curve of Object.values(CURVES)) {
    near(curve.slope(curve.best), 0)
    for (let w = curve.from; w <= curve.to; w += 0.01) assert.ok(curve.loss(w) >= curve.loss(curve.best) - 1e-6)
  }
})

test('the thermometer is the mean squared error of its three examples', () => {
  const examples = [1, 2, 5].map((x) => [x, 1.8 * x])
  for (const w of [-1, 0, 1.8, 3]) near(bowl.loss(w), examples.reduce((sum, [x, y]) => sum + (w * x - y) ** 2, 0) / 3)
})

test('a step goes against the slope, by rate times slope', () => {
  assert.deepEqual(nextStep(walkFrom(0), bowl, 0.01, 0), { steps: 1, w: 0.36, mean: -36 })
})

test('a twentieth lands at once, a tenth swings for ever, more runs away', () => {
  near(walk(bowl, 0, 0.05, 0, 1).at(-1).w, 1.8)
  const swinging = walk(bowl, 0, 0.1, 0, 40)
  near(swinging.at(-1).w, 0, 1e-9)
  near(swinging.at(-2).w, 3.6, 1e-9)
  assert.ok(Math.abs(walk(bowl, 0, 0.11, 0, 40).at(-1).w) > 1000)
})

test('momentum is a rolling mean of the slopes', () => {
  const [, first, second] = walk(bowl, 0, 0.01, 0.9, 2)
  near(first.mean, 0.1 * -36)
  near(second.mean, 0.9 * first.mean + 0.1 * bowl.slope(first.w))
  near(second.w, first.w - 0.01 * second.mean)
})

test('a walk from the left stays in the first valley; with momentum it gets over the hill', () => {
  const curve = CURVES['two valleys']
  near(walk(curve, curve.start, 0.02, 0, 300).at(-1).w, -1.5, 1e-6)
  near(walk(curve, curve.start, 0.02, 0.9, 600).at(-1).w, curve.best, 1e-3)
})

test('a walk has arrived, is on its way, or is lost', () => {
  assert.equal(whereabouts(bowl, walkFrom(1.8)), 'arrived')
  assert.equal(whereabouts(bowl, { steps: 3, w: 1.8, mean: 5 }), 'walking')
  assert.equal(whereabouts(bowl, walkFrom(0)), 'walking')
  assert.equal(whereabouts(bowl, walkFrom(4.7)), 'lost')
  assert.ok(isInside(bowl, -1) && !isInside(bowl, -1.01))
})

test('numbers are short and have a real minus sign', () => {
  assert.equal(shortNumber(-1 / 3), '\u22120.333')
  assert.equal(shortNumber(-36), '\u221236')
  assert.equal(shortNumber(12.345), '12.3')
  assert.equal(shortNumber(-1e-9), '0')
  assert.equal(shortNumber(2.5e7), '2.5e+7')
})
