// node --test fastcnn/web/network
import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  explainConvolution,
  explainLinear,
  inputMaps,
  kernelOf,
  lastWeights,
  mapOf,
  outputSides,
  readFloats,
  readHalves,
  readLayer,
  run,
  shortNumber,
  silentMaps,
  softmax,
  windowPlaces,
} from './layers.js'

const base64 = (array) => Buffer.from(array.buffer).toString('base64')
const floats = (...values) => base64(Float32Array.from(values))
const signal = (channels, rows, columns, values) => ({ channels, rows, columns, values: Float32Array.from(values) })
const conv = (changes) => ({
  kind: 'conv',
  out: 1,
  groups: 1,
  kernel: [2, 2],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  weight: Float32Array.from([1, 10, 100, 1000]),
  ...changes,
})
const PICTURE = signal(1, 3, 4, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
const last = (layers, picture) => Array.from(run(layers, picture).at(-1).values)

test('numbers of 16 bits are read exactly: small, large, negative, subnormal, none', () => {
  const halves = Uint16Array.from([0x3c00, 0xc000, 0x3555, 0x7bff, 0x0001, 0x8000, 0x7c00])
  const [one, two, third, most, least, zero, infinite] = readHalves(base64(halves))
  assert.deepEqual([one, two, most, infinite], [1, -2, 65504, Infinity])
  assert.ok(Math.abs(third - 1 / 3) < 1e-4 && least === 2 ** -24 && zero === 0)
  assert.deepEqual(Array.from(readFloats(floats(0.5, -3))), [0.5, -3])
})

test('a layer as Python writes it has its numbers read, and nothing else changed', () => {
  const layer = readLayer({ kind: 'linear', out: 1, weight: base64(Uint16Array.from([0x3c00])), bias: floats(2) })
  assert.deepEqual([layer.kind, layer.out, ...layer.weight, ...layer.bias], ['linear', 1, 1, 2])
})

test('a convolution multiplies and adds up, first weight with first pixel, and adds its bias', () => {
  const sum = 1 + 20 + 500 + 6000
  assert.deepEqual(last([conv({ bias: Float32Array.of(7) })], PICTURE).slice(0, 2), [sum + 7, sum + 1111 + 7])
})

test('stride, padding and dilation choose the places, in each direction by itself', () => {
  assert.deepEqual(outputSides(conv({ stride: [2, 1], padding: [1, 0] }), PICTURE), [2, 3])
  assert.deepEqual(windowPlaces(conv({ padding: [1, 1] }), PICTURE, 0, 0), [-1, -1, -1, 0])
  assert.deepEqual(windowPlaces(conv({ dilation: [2, 1] }), PICTURE, 0, 1), [1, 2, 9, 10])
  assert.deepEqual(windowPlaces(conv({ stride: [1, 2] }), PICTURE, 1, 1), [6, 7, 10, 11])
})

test('groups see their own maps only', () => {
  const two = signal(2, 1, 1, [3, 5])
  const layer = conv({ out: 2, groups: 2, kernel: [1, 1], weight: Float32Array.of(10, 100) })
  assert.deepEqual(last([layer], two), [30, 500])
  assert.deepEqual([inputMaps(layer, two, 0), inputMaps(layer, two, 1)], [[0], [1]])
  assert.deepEqual(Array.from(kernelOf(layer, two, 1, 0)), [100])
})

test('pooling takes the largest or the average; padding is never the largest', () => {
  const pool = (changes) => ({ kind: 'pool', pool: 'max', kernel: [2, 2], stride: [2, 2], padding: [0, 0], ...changes })
  assert.deepEqual(last([pool()], PICTURE), [6, 8])
  assert.deepEqual(last([pool({ pool: 'average' })], PICTURE), [14 / 4, 22 / 4])
  const minus = signal(1, 2, 2, [-1, -2, -3, -4])
  assert.deepEqual(last([pool({ padding: [1, 1] })], minus), [-1, -2, -3, -4])
  assert.deepEqual(last([pool({ pool: 'average', padding: [1, 1], countPadding: true })], minus), [-0.25, -0.5, -0.75, -1])
  assert.deepEqual(last([pool({ pool: 'average', padding: [1, 1], countPadding: false })], minus), [-1, -2, -3, -4])
})

test('ReLU, BatchNorm, average, flatten and linear', () => {
  const two = signal(2, 1, 2, [-1, 2, 3, -4])
  const norm = { kind: 'norm', scale: Float32Array.of(2, 1), shift: Float32Array.of(0, 1) }
  assert.deepEqual(last([{ kind: 'relu' }, norm], two), [0, 4, 4, 1])
  assert.deepEqual(last([{ kind: 'average' }], two), [0.5, -0.5])
  const linear = { kind: 'linear', out: 1, weight: Float32Array.of(1, 2, 3, 4), bias: Float32Array.of(0.5) }
  assert.deepEqual(last([{ kind: 'flatten' }, linear], two), [-1 + 4 + 9 - 16 + 0.5])
})

test('softmax survives large logits', () => {
  assert.deepEqual(softmax([1000, 1000]), [0.5, 0.5])
  const [low, high] = softmax([0, Math.log(3)])
  assert.ok(Math.abs(low - 0.25) < 1e-12 && Math.abs(high - 0.75) < 1e-12)
})

test('a map is silent where it is zero everywhere, and stays so behind a BatchNorm', () => {
  const two = signal(2, 1, 2, [0, 0, 0, 1])
  assert.deepEqual(silentMaps({ kind: 'relu' }, two), [true, false])
  assert.deepEqual(silentMaps({ kind: 'norm' }, signal(2, 1, 2, [3, 3, 3, 4]), [true, false]), [true, false])
  assert.equal(silentMaps({ kind: 'conv' }, two, [true, true]), null)
  assert.equal(silentMaps({ kind: 'pool' }, two, null), null)
})

test('the explanation of a number of a convolution adds up to it', () => {
  const two = signal(2, 3, 3, [1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 8, 7, 6, 5, 4, 3, 2, 1])
  const weight = Float32Array.from({ length: 16 }, (_, i) => i - 7)
  const layer = conv({ out: 2, padding: [1, 1], weight, bias: Float32Array.of(0.5, -1) })
  const out = run([layer], two).at(-1)
  for (const [row, column] of [[0, 0], [1, 2], [3, 3]]) {
    const told = explainConvolution(layer, two, 1, row, column)
    assert.equal(told.result, mapOf(out, 1)[row * 4 + column])
    for (const part of told.parts) assert.equal(part.sum, part.products.reduce((sum, product) => sum + product))
  }
  assert.deepEqual(explainConvolution(layer, two, 0, 0, 0).parts[0].seen, [null, null, null, 1])
})

test('what the inputs of a linear layer add, in the shape of the maps', () => {
  const shape = signal(2, 1, 2, [1, 2, 3, 4])
  const layer = { kind: 'linear', out: 2, weight: Float32Array.of(0, 0, 0, 0, 1, 10, 100, 1000), bias: Float32Array.of(0, 7) }
  const { parts, bias } = explainLinear(layer, shape, shape, 1)
  assert.deepEqual([parts.map(({ sum }) => sum), bias], [[21, 4300], 7])
  assert.deepEqual(Array.from(parts[1].products), [300, 4000])
  assert.equal(lastWeights([conv(), { kind: 'relu' }, { kind: 'flatten' }]), 0)
})

test('numbers are short and have a real minus sign', () => {
  const short = [-1 / 3, 2, 12.345, 123.4, -0.0001, 0].map(shortNumber)
  assert.deepEqual(short, ['\u22120.333', '2', '12.3', '123', '0', '0'])
})
