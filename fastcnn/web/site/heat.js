// Where does the model look? A window of the picture is covered with the mean colour, and what that costs in certainty is its heat.
// Needs no browser: see heat.test.js.

const PATIENCE = 5000 // Milliseconds that a map may take
export const TOGETHER = 8 // Pictures that the model gets at a time

/** Cells across and down: fewer where the device needs longer for a picture. */
export function cellsFor(milliseconds, size) {
  return Math.max(7, Math.min(14, size >> 1, 1 + Math.floor(Math.sqrt(PATIENCE / milliseconds))))
}

/** The mean of each channel of an RGB picture. */
export function meanColour(image) {
  const sum = [0, 0, 0]
  image.forEach((value, i) => { sum[i % 3] += value })
  return sum.map(value => (3 * value) / image.length)
}

/** The corners of all windows of two cells by two, which overlap by half. */
export function windows(cells) {
  const n = cells - 1
  return Array.from({ length: n * n }, (_, i) => [i % n, Math.floor(i / n)])
}

/** A copy of a picture in which the window with this corner is covered. */
export function cover(image, [x, y], cells, colour, size) {
  const edge = i => Math.round((i * size) / cells)
  const covered = image.slice()
  for (let v = edge(y); v < edge(y + 2); v++) {
    for (let u = edge(x); u < edge(x + 2); u++) covered.set(colour, (v * size + u) * 3)
  }
  return covered
}

const log = p => Math.log(Math.max(p, 1e-30))

/** How sure the model is of class `best`, for each of n pictures: the log of its probability over that of all others together. */
export function logOdds(probabilities, n, best) {
  const classes = probabilities.length / n
  return Array.from({ length: n }, (_, i) => {
    const p = probabilities.slice(i * classes, (i + 1) * classes)
    const others = p.reduce((sum, value, k) => (k === best ? sum : sum + value), 0)
    return log(p[best]) - log(others)
  })
}

/** The heat of each cell: the mean of what the windows that cover it have cost. `costs` belong to `windows(cells)`. */
export function heatOf(costs, cells) {
  const sum = new Float32Array(cells ** 2)
  const covered = new Float32Array(cells ** 2)
  windows(cells).forEach(([x, y], k) => {
    for (const step of [0, 1, cells, cells + 1]) {
      sum[y * cells + x + step] += costs[k]
      covered[y * cells + x + step]++
    }
  })
  return sum.map((value, i) => value / covered[i])
}

/** The map of one class: `whole` (classes) and `covered` (windows × classes) are probabilities without and with a window covered. */
export function mapOf({ cells, whole, covered }, best) {
  const [before] = logOdds(whole, 1, best)
  const after = logOdds(covered, (cells - 1) ** 2, best)
  return { cells, map: heatOf(after.map(value => before - value), cells) }
}
