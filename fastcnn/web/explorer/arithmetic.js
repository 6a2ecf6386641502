// The explorer's arithmetic, which needs no page. A map is {rows, columns, values}, its values row by row;
// `sliding` is {stride, padding, mode, dilation}, named as in fastcnn.convolution.

export const sideOf = (kernel) => Math.round(Math.sqrt(kernel.length))

export function outputSize(size, kernelSide, { stride, padding = 0, dilation = 1 }) {
  return Math.floor((size + 2 * padding - dilation * (kernelSide - 1) - 1) / stride) + 1
}

// Which pixel of a row of `size` stands at place i of the padded row; -1: none, a zero
export function sourceIndex(i, size, mode) {
  if (i >= 0 && i < size) return i
  if (mode === 'zeros') return -1
  if (mode === 'replicate') return i < 0 ? 0 : size - 1
  if (mode === 'circular') return ((i % size) + size) % size
  return i < 0 ? -i : 2 * (size - 1) - i // reflect
}

// [row, column, value] of each pixel under the window; row and column are -1 in the padding
export function windowAt(map, side, row, column, { stride, padding = 0, mode = 'zeros', dilation = 1 }) {
  const seen = []
  for (let i = 0; i < side; i++) {
    const y = sourceIndex(row * stride - padding + i * dilation, map.rows, mode)
    for (let j = 0; j < side; j++) {
      const x = sourceIndex(column * stride - padding + j * dilation, map.columns, mode)
      seen.push(y < 0 || x < 0 ? [-1, -1, 0] : [y, x, map.values[y * map.columns + x]])
    }
  }
  return seen
}

export const sumOfProducts = (seen, kernel) => seen.reduce((sum, [, , value], i) => sum + value * kernel[i], 0)

// A map of what `answer` makes of the window at each place
function slide(map, side, sliding, answer) {
  const out = { rows: outputSize(map.rows, side, sliding), columns: outputSize(map.columns, side, sliding), values: [] }
  for (let row = 0; row < out.rows; row++)
    for (let column = 0; column < out.columns; column++)
      out.values.push(answer(windowAt(map, side, row, column, sliding)))
  return out
}

export function correlate(map, kernel, sliding) {
  return slide(map, sideOf(kernel), sliding, (seen) => sumOfProducts(seen, kernel))
}

const POOLINGS = {
  max: (values) => Math.max(...values),
  avg: (values) => values.reduce((sum, value) => sum + value, 0) / values.length,
  l2: (values) => Math.hypot(...values),
}

export function pool(map, kind, side, stride) {
  return slide(map, side, { stride }, (seen) => POOLINGS[kind](seen.map(([, , value]) => value)))
}

// Why there is no output, in words; '' where there is one
export function whyImpossible(image, kernelSide, sliding, poolSide) {
  const { padding, mode, dilation } = sliding
  const shorter = Math.min(image.rows, image.columns)
  if (mode === 'reflect' && padding >= shorter)
    return `Reflection needs a padding below the side of the image, ${shorter}.`
  if (mode === 'circular' && padding > shorter)
    return `Circular padding can be at most the side of the image, ${shorter}.`
  const out = outputSize(shorter, kernelSide, sliding)
  if (out < 1) {
    const covered = `The kernel covers ${dilation * (kernelSide - 1) + 1} pixels`
    const there = `more than the ${shorter + 2 * padding} that there are`
    return `${covered}, ${there}: pad more, or take a smaller kernel or dilation.`
  }
  if (poolSide > out) return `The pooling window of ${poolSide} is larger than the map of ${out}.`
  return ''
}

// A number with at most three decimals and a real minus sign
export const shortNumber = (value) => String(Math.round(value * 1000) / 1000).replace('-', '\u2212')
