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

// [row, column] of each place under the window, in the image's own counting: below 0 or beyond its side is padding
export function placesAt(side, row, column, { stride, padding = 0, dilation = 1 }) {
  const at = (start, i) => start * stride - padding + i * dilation
  return Array.from({ length: side * side }, (_, i) => [at(row, Math.floor(i / side)), at(column, i % side)])
}

export const isIn = (map, row, column) => row >= 0 && column >= 0 && row < map.rows && column < map.columns

// What stands at a place of the padded image; 0 where the mode has nothing to put there
export function paddedValue(map, row, column, mode) {
  const [y, x] = [sourceIndex(row, map.rows, mode), sourceIndex(column, map.columns, mode)]
  return isIn(map, y, x) ? map.values[y * map.columns + x] : 0
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

// The settings as text, for the address of the page and as the call in Python that begins with them

export const DEFAULTS = {
  picture: 'a bar',
  size: 9,
  image: null,
  kernel: [-1, 0, 1, -1, 0, 1, -1, 0, 1],
  stride: 1,
  padding: 0,
  mode: 'zeros',
  dilation: 1,
  flipped: false,
  relu: false,
  pool: null,
  pool_size: 2,
  pool_stride: 2,
}
export const LIMITS = {
  size: [3, 24],
  stride: [1, 6],
  padding: [0, 6],
  dilation: [1, 6],
  pool_size: [1, 6],
  pool_stride: [1, 6],
}
const CHOICES = { mode: ['zeros', 'reflect', 'replicate', 'circular'], pool: ['max', 'avg', 'l2'] }

const plainNumber = (value) => String(Number(value.toPrecision(6)))
const sameNumbers = (a, b) => a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) < 1e-5)

export function rowsOf(values, columns) {
  return Array.from({ length: values.length / columns }, (_, row) => values.slice(row * columns, (row + 1) * columns))
}

// What differs from the defaults: [name, value], the image and the kernel as rows; a drawn image makes up for its name
function chosen({ image, kernel, ...rest }) {
  const pairs = image ? [['image', rowsOf(image.values, image.columns)]] : []
  if (!sameNumbers(kernel, DEFAULTS.kernel)) pairs.push(['kernel', rowsOf(kernel, sideOf(kernel))])
  for (const [name, value] of Object.entries(rest)) {
    const drawn = image && (name === 'picture' || name === 'size')
    if (!drawn && value !== DEFAULTS[name]) pairs.push([name, value])
  }
  return pairs
}

const rowsAsText = (rows) => rows.map((row) => row.map(plainNumber).join(',')).join(';')

export function toHash(settings) {
  const text = (value) => (Array.isArray(value) ? rowsAsText(value) : value === true ? '1' : value)
  const pairs = chosen(settings).map(([name, value]) => [name, text(value)])
  return `#${new URLSearchParams(pairs.length ? pairs : [['picture', settings.picture]])}`
}

function pythonValue(value) {
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(', ')}]`
  if (typeof value === 'number') return plainNumber(value)
  return typeof value === 'string' ? `'${value}'` : 'True'
}

export function toPython(settings) {
  const given = chosen(settings).map(([name, value]) => `${name}=${pythonValue(value)}`)
  return `explore_convolution(${given.join(', ')})`
}

// Rows of numbers of equal length, their sides within limits; else nothing
function readRows(text, least, most) {
  const rows = text.split(';').map((row) => row.split(',').map((cell) => (cell.trim() ? Number(cell) : Number.NaN)))
  const fits = (n) => n >= least && n <= most
  const equal = rows.every((row) => row.length === rows[0].length && row.every(Number.isFinite))
  return equal && fits(rows.length) && fits(rows[0].length) ? rows : undefined
}

const READERS = {
  image: (text) => readRows(text, 3, 24),
  kernel(text) {
    const rows = readRows(text, 1, 5)
    return rows && rows.length === rows[0].length ? rows : undefined
  },
  picture: (text) => text,
  flipped: (text) => text === '1',
  relu: (text) => text === '1',
}

function readSetting(name, text) {
  if (READERS[name]) return READERS[name](text)
  if (CHOICES[name]) return CHOICES[name].includes(text) ? text : undefined
  const [least, most] = LIMITS[name] ?? [1, 0]
  return /^\d{1,2}$/.test(text) && text >= least && text <= most ? Number(text) : undefined
}

// The settings that an address names, complete; null where it names none. What it says wrongly is left at its default
export function fromHash(hash) {
  const read = [...new URLSearchParams(hash.slice(1))].map(([name, text]) => [name, readSetting(name, text)])
  const known = read.filter(([, value]) => value !== undefined)
  if (!known.length) return null
  return { ...DEFAULTS, kernel: rowsOf(DEFAULTS.kernel, 3), ...Object.fromEntries(known) }
}
