// From a decoded picture to the pixels that the model gets. Needs no browser: see pixels.test.js.

const ENOUGH = 2e6 // Pixels: as floats, a photograph of 12 million would take 144 MB

/** Side of the blocks that are averaged first, so that a large picture stays 4 times as large as what the model looks at. */
export function reduction(width, height, size) {
  const most = Math.floor(Math.min(width, height) / (4 * size))
  return Math.max(1, Math.min(most, Math.ceil(Math.sqrt((width * height) / ENOUGH))))
}

/** The mean colour of a rectangle of RGBA pixels. */
function mean(rgba, width, { left, top, right, bottom }) {
  const sum = [0, 0, 0]
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      for (let c = 0; c < 3; c++) sum[c] += rgba[(y * width + x) * 4 + c]
    }
  }
  const pixels = (bottom - top) * (right - left)
  return sum.map(value => Math.round(value / pixels))
}

/** RGBA → RGB */
function dropAlpha(rgba) {
  const out = new Uint8Array((rgba.length / 4) * 3)
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    out[to] = rgba[from]
    out[to + 1] = rgba[from + 1]
    out[to + 2] = rgba[from + 2]
  }
  return out
}

/** RGBA → RGB, where each pixel is the mean of a block of by × by, as Pillow's `reduce` makes it. */
export function reduce(rgba, width, height, by) {
  if (by === 1) return dropAlpha(rgba)
  const columns = Math.ceil(width / by)
  const rows = Math.ceil(height / by)
  const out = new Uint8Array(columns * rows * 3)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const block = { left: column * by, top: row * by, right: Math.min(width, (column + 1) * by), bottom: Math.min(height, (row + 1) * by) }
      out.set(mean(rgba, width, block), (row * columns + column) * 3)
    }
  }
  return out
}

/** The middle square of an RGB picture, which the model looks at, as size × size pixels. */
export function middleSquare({ data, width, height }, size) {
  const side = Math.min(width, height)
  const left = (width - side) >> 1
  const top = (height - side) >> 1
  const from = i => Math.floor((i * side) / size)
  const to = i => Math.max(from(i) + 1, from(i + 1))
  const out = new Uint8Array(size * size * 3)
  for (let i = 0; i < out.length; i++) {
    const [x, y, c] = [Math.floor(i / 3) % size, Math.floor(i / 3 / size), i % 3]
    let sum = 0
    for (let v = from(y); v < to(y); v++) {
      for (let u = from(x); u < to(x); u++) sum += data[((top + v) * width + left + u) * 3 + c]
    }
    out[i] = Math.round(sum / (to(x) - from(x)) / (to(y) - from(y)))
  }
  return out
}
