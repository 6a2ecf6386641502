// What the page says. Needs no browser: see words.test.js.

/** A probability, never as certain as 100%. */
export function percent(p) {
  if (p > 0.9995) return '> 99.9%'
  if (p < 0.0005) return '< 0.1%'
  return `${(100 * p).toFixed(1)}%`
}

/** Where the hottest cell of a map lies. */
export function place({ cells, map }) {
  const top = map.indexOf(Math.max(...map))
  const third = i => Math.min(2, Math.floor((3 * (i + 0.5)) / cells))
  const row = ['top', 'middle', 'bottom'][third(Math.floor(top / cells))]
  const column = ['left', 'centre', 'right'][third(top % cells)]
  return row === 'middle' && column === 'centre' ? 'in the middle' : `at the ${row} ${column}`
}

const NO_CAMERA = {
  NotAllowedError: 'The camera was not allowed: choose a file instead.',
  NotFoundError: 'No camera was found: choose a file instead.',
}

/** Why there is no camera. */
export const cameraTrouble = name => NO_CAMERA[name] ?? 'The camera cannot be used now: choose a file instead.'

/** How much larger or smaller odds become, from the logarithm of it. */
export function factor(log) {
  if (log > Math.log(1000)) return '> 1000'
  return Math.exp(log) < 10 ? Math.exp(log).toFixed(1) : Math.round(Math.exp(log)).toString()
}
