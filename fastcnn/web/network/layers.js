// A network's arithmetic, which needs no page. A signal is {channels, rows, columns, values}: its maps one after the
// other, each row by row. A layer is what fastcnn.networks writes: {kind, …}, named as torch names its arguments.

// From base64 to numbers

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))

function halfToNumber(half) {
  const sign = half & 0x8000 ? -1 : 1
  const exponent = (half >> 10) & 31
  const fraction = half & 1023
  if (!exponent) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

export const readHalves = (text) => Float32Array.from(new Uint16Array(bytesOf(text).buffer), halfToNumber)
export const readFloats = (text) => new Float32Array(bytesOf(text).buffer)

const HALVES = ['weight']
const FLOATS = ['bias', 'scale', 'shift']

// A layer as Python wrote it, its numbers read
export function readLayer(written) {
  const layer = { ...written }
  for (const name of HALVES) if (layer[name]) layer[name] = readHalves(layer[name])
  for (const name of FLOATS) if (layer[name]) layer[name] = readFloats(layer[name])
  return layer
}

// Signals

export const signalOf = (channels, rows, columns) => ({
  channels,
  rows,
  columns,
  values: new Float32Array(channels * rows * columns),
})

export const areaOf = (signal) => signal.rows * signal.columns

export function mapOf(signal, channel) {
  const area = areaOf(signal)
  return signal.values.subarray(channel * area, (channel + 1) * area)
}

const outputSide = (size, kernel, stride, padding, dilation) =>
  Math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1

export function outputSides(layer, signal) {
  const [tall, wide] = layer.dilation ?? [1, 1]
  return [
    outputSide(signal.rows, layer.kernel[0], layer.stride[0], layer.padding[0], tall),
    outputSide(signal.columns, layer.kernel[1], layer.stride[1], layer.padding[1], wide),
  ]
}

// Which places of a map lie under the window at (row, column), row by row; -1 in the padding
export function windowPlaces(layer, signal, row, column) {
  const [tall, wide] = layer.dilation ?? [1, 1]
  const places = []
  for (let i = 0; i < layer.kernel[0]; i++) {
    const y = row * layer.stride[0] - layer.padding[0] + i * tall
    for (let j = 0; j < layer.kernel[1]; j++) {
      const x = column * layer.stride[1] - layer.padding[1] + j * wide
      const outside = y < 0 || x < 0 || y >= signal.rows || x >= signal.columns
      places.push(outside ? -1 : y * signal.columns + x)
    }
  }
  return places
}

// The same for all places of the output, one window after the other
function allWindows(layer, signal, rows, columns) {
  const size = layer.kernel[0] * layer.kernel[1]
  const found = new Int32Array(rows * columns * size)
  for (let place = 0; place < rows * columns; place++)
    found.set(windowPlaces(layer, signal, Math.floor(place / columns), place % columns), place * size)
  return found
}

// Layers

// The numbers under each window, those of all maps of a group behind one another: a row per place of the output
function gather(signal, windows, size, first, channels) {
  const area = areaOf(signal)
  const places = windows.length / size
  const gathered = new Float32Array(places * channels * size)
  let to = 0
  for (let place = 0; place < places; place++)
    for (let channel = first; channel < first + channels; channel++)
      for (let i = place * size; i < (place + 1) * size; i++, to++)
        if (windows[i] >= 0) gathered[to] = signal.values[channel * area + windows[i]]
  return gathered
}

function dot(a, from, b, start, length) {
  let sum = 0
  for (let i = 0; i < length; i++) sum += a[from + i] * b[start + i]
  return sum
}

function convolve(layer, signal) {
  const [rows, columns] = outputSides(layer, signal)
  const out = signalOf(layer.out, rows, columns)
  const size = layer.kernel[0] * layer.kernel[1]
  const windows = allWindows(layer, signal, rows, columns)
  const area = rows * columns
  const [ins, outs] = [signal.channels / layer.groups, layer.out / layer.groups]
  for (let group = 0; group < layer.groups; group++) {
    const gathered = gather(signal, windows, size, group * ins, ins)
    for (let channel = group * outs; channel < (group + 1) * outs; channel++)
      for (let place = 0; place < area; place++) {
        const sum = dot(layer.weight, channel * ins * size, gathered, place * ins * size, ins * size)
        out.values[channel * area + place] = sum + (layer.bias?.[channel] ?? 0)
      }
  }
  return out
}

// The largest number under a window, or the average. Padding is never the largest; in an average it counts as a zero,
// or not at all
export function poolWindow(layer, values) {
  if (layer.pool === 'max') return Math.max(...values)
  const size = layer.countPadding ? layer.kernel[0] * layer.kernel[1] : values.length
  return values.reduce((sum, value) => sum + value, 0) / size
}

function pool(layer, signal) {
  const [rows, columns] = outputSides(layer, signal)
  const out = signalOf(signal.channels, rows, columns)
  const area = rows * columns
  for (let place = 0; place < area; place++) {
    const seen = windowPlaces(layer, signal, Math.floor(place / columns), place % columns).filter((at) => at >= 0)
    const values = new Array(seen.length)
    for (let channel = 0; channel < signal.channels; channel++) {
      const from = channel * areaOf(signal)
      for (let i = 0; i < seen.length; i++) values[i] = signal.values[from + seen[i]]
      out.values[channel * area + place] = poolWindow(layer, values)
    }
  }
  return out
}

function average(signal) {
  const out = signalOf(signal.channels, 1, 1)
  for (let channel = 0; channel < signal.channels; channel++)
    out.values[channel] = mapOf(signal, channel).reduce((sum, value) => sum + value, 0) / areaOf(signal)
  return out
}

const eachNumber = (signal, answer) => ({ ...signal, values: signal.values.map(answer) })

function normalise(layer, signal) {
  const area = areaOf(signal)
  return eachNumber(signal, (value, i) => {
    const channel = Math.floor(i / area)
    return value * layer.scale[channel] + layer.shift[channel]
  })
}

function connect(layer, signal) {
  const out = signalOf(layer.out, 1, 1)
  const ins = signal.values.length
  for (let i = 0; i < layer.out; i++)
    out.values[i] = dot(layer.weight, i * ins, signal.values, 0, ins) + (layer.bias?.[i] ?? 0)
  return out
}

const flatten = (signal) => ({ channels: signal.values.length, rows: 1, columns: 1, values: signal.values })

const LAYERS = {
  conv: convolve,
  pool,
  average: (_layer, signal) => average(signal),
  relu: (_layer, signal) => eachNumber(signal, (value) => Math.max(0, value)),
  norm: normalise,
  flatten: (_layer, signal) => flatten(signal),
  linear: connect,
}

// What each layer makes of a picture: the picture itself first, the logits last
export function run(layers, picture) {
  const signals = [picture]
  for (const layer of layers) signals.push(LAYERS[layer.kind](layer, signals.at(-1)))
  return signals
}

export function softmax(logits) {
  const largest = Math.max(...logits)
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest))
  const total = powers.reduce((sum, power) => sum + power, 0)
  return powers.map((power) => power / total)
}

// Explanations

export const isSilent = (signal, channel) => mapOf(signal, channel).every((value) => value === 0)

// Which maps are silent after a layer: zero everywhere; behind such a map a BatchNorm has only its shift left
export function silentMaps(layer, signal, before) {
  const channels = Array.from({ length: signal.channels }, (_, i) => i)
  if (layer.kind === 'norm') return channels.map((i) => before?.[i] ?? false)
  if (layer.kind === 'relu' || (before && (layer.kind === 'pool' || layer.kind === 'average')))
    return channels.map((i) => isSilent(signal, i))
  return null
}

// Which maps go into a map of a convolution
export function inputMaps(layer, signal, channel) {
  const ins = signal.channels / layer.groups
  const first = Math.floor(channel / (layer.out / layer.groups)) * ins
  return Array.from({ length: ins }, (_, i) => first + i)
}

export function kernelOf(layer, signal, channel, part) {
  const size = layer.kernel[0] * layer.kernel[1]
  const ins = signal.channels / layer.groups
  const from = (channel * ins + part) * size
  return layer.weight.subarray(from, from + size)
}

// One number of a convolution: for each input map its window (null in the padding), weights, products and their sum
export function explainConvolution(layer, signal, channel, row, column) {
  const places = windowPlaces(layer, signal, row, column)
  const parts = inputMaps(layer, signal, channel).map((input, part) => {
    const map = mapOf(signal, input)
    const seen = places.map((at) => (at < 0 ? null : map[at]))
    const weights = Array.from(kernelOf(layer, signal, channel, part))
    const products = weights.map((weight, i) => weight * (seen[i] ?? 0))
    return { input, seen, weights, products, sum: products.reduce((sum, product) => sum + product, 0) }
  })
  const bias = layer.bias?.[channel] ?? 0
  return { places, parts, bias, result: parts.reduce((sum, part) => sum + part.sum, bias) }
}

// The last layer with weights, what comes in, and the logits' own maps
export function lastWeights(layers) {
  return layers.findLastIndex((layer) => layer.kind === 'linear' || layer.kind === 'conv')
}

// What each input of a linear layer adds to an output, in the shape of the maps that were flattened
export function explainLinear(layer, signal, shape, output) {
  const ins = signal.values.length
  const added = signal.values.map((value, i) => value * layer.weight[output * ins + i])
  const area = shape.rows * shape.columns
  const parts = Array.from({ length: shape.channels }, (_, input) => {
    const products = added.subarray(input * area, (input + 1) * area)
    return { input, products, sum: products.reduce((sum, product) => sum + product, 0) }
  })
  return { parts, bias: layer.bias?.[output] ?? 0 }
}

// A number with at most three decimals, fewer where it is large, and a real minus sign
export function shortNumber(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  const text = String(Number(value.toFixed(digits)))
  return text === '-0' ? '0' : text.replace('-', '\u2212')
}
