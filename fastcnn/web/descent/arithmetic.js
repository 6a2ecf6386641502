// What the page computes without a page: curves, slopes, and steps of gradient descent with momentum.

// Each has a loss and its slope for a weight w, the part of the w axis that is drawn, where
// a walk may begin, and the best weight.
export const CURVES = {
  thermometer: {
    loss: (w) => 10 * (w - 1.8) ** 2,
    slope: (w) => 20 * (w - 1.8),
    from: -1,
    to: 4.6,
    start: 0,
    best: 1.8,
  },
  'two valleys': {
    loss: (w) => 3 * w ** 4 - 16.125 * w ** 2 - 7.875 * w + 36,
    slope: (w) => 12 * (w + 1.5) * (w + 0.25) * (w - 1.75),
    from: -2.4,
    to: 2.6,
    start: -2.4,
    best: 1.75,
  },
}

// Where a walk begins: no step taken, no slope seen
export const walkFrom = (w) => ({ steps: 0, w, mean: 0 })

// The walk one step on: the rolling mean of the slopes moves towards the slope here, the weight against the mean
export function nextStep({ steps, w, mean }, curve, rate, momentum) {
  const rolled = momentum * mean + (1 - momentum) * curve.slope(w)
  return { steps: steps + 1, w: w - rate * rolled, mean: rolled }
}

export const isInside = (curve, w) => w >= curve.from && w <= curve.to

// What can be said of where the walk is: 'lost' outside the picture, 'arrived' where it has come to rest, else 'walking'
export function whereabouts(curve, { w, mean }) {
  if (!isInside(curve, w)) return 'lost'
  const flat = (slope) => Math.abs(slope) < 0.01
  return flat(curve.slope(w)) && flat(mean) ? 'arrived' : 'walking'
}

// A number with three decimals at most, fewer where it is large, and a real minus sign
export function shortNumber(value) {
  const digits = Math.abs(value) < 10 ? 3 : Math.abs(value) < 1000 ? 1 : 0
  const text = Math.abs(value) < 1e6 ? String(Number(value.toFixed(digits))) : value.toExponential(1)
  return text.replace(/^-0$/, '0').replaceAll('-', '\u2212')
}
