// Teaching a class from a few pictures: ridge regression on the features of these and of some pictures of the model's own classes,
// whose answers with one picture left out follow in closed form. `fastcnn.taught` computes the same. Needs no browser: see teach.test.js.

export const MAX_CLASSES = 20
export const MAX_PICTURES = 400 // Of all classes that are taught
const STRENGTHS = [0.01, 0.03, 0.1, 0.3, 1] // Of the ridge, in units of the mean squared length
const STRANGE = 0.95 // Of the model's own pictures, and of strangers, are farther away than what a taught class lets in
const COPY = 0.95 // Cosine above which two pictures are nearly one

const dot = (a, b) => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}
const scaled = (a, by) => Float64Array.from(a, value => value * by)
const minus = (a, b) => Float64Array.from(a, (value, i) => value - b[i])
export const unit = a => scaled(a, 1 / Math.max(Math.sqrt(dot(a, a)), 1e-12))

/** The sum of rows, each as much as its weight */
function combined(rows, weights) {
  const sum = new Float64Array(rows[0].length)
  rows.forEach((row, i) => { for (let j = 0; j < sum.length; j++) sum[j] += weights[i] * row[j] })
  return sum
}
const meanOf = (rows, weights) => scaled(combined(rows, weights), 1 / weights.reduce((a, b) => a + b))

/** A number of 16 bits. */
function half(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
  const size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : (fraction / 1024) * 2 ** -14
  return bits & 0x8000 ? -size : size
}

/** features.safetensors of a model → { rows: unit vectors, classes: number of the class of each, strangers: unit vectors of pictures that belong to none } */
export function readKnown(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = Number(view.getBigUint64(0, true))
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)))
  const at = part => 8 + length + part.data_offsets[0]
  const read = part => {
    const [m, d] = part.shape
    return Array.from({ length: m }, (_, i) => unit(Float64Array.from({ length: d }, (_, j) => half(view.getUint16(at(part) + 2 * (i * d + j), true)))))
  }
  const classes = Array.from({ length: head.classes.shape[0] }, (_, i) => view.getInt32(at(head.classes) + 4 * i, true))
  const found = { rows: read(head.features), classes, strangers: read(head.strangers) }
  const sound = [...found.rows, ...found.strangers].every(row => row.every(Number.isFinite)) && found.rows.length === classes.length
  if (!sound) throw new Error('it holds no features')
  return found
}

/** The inverse of a symmetric matrix with positive eigenvalues, by Cholesky's way: rows */
function inverse(rows) {
  const n = rows.length
  const lower = rows.map(row => row.slice()) // L, of which only the lower half is looked at
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = lower[i][j]
      for (let k = 0; k < j; k++) sum -= lower[i][k] * lower[j][k]
      lower[i][j] = i === j ? Math.sqrt(sum) : sum / lower[j][j]
    }
  }
  const turned = Array.from({ length: n }, () => new Float64Array(n)) // columns of the inverse of L
  for (let c = 0; c < n; c++) {
    for (let i = c; i < n; i++) {
      let sum = i === c ? 1 : 0
      for (let k = c; k < i; k++) sum -= lower[i][k] * turned[c][k]
      turned[c][i] = sum / lower[i][i]
    }
  }
  const out = Array.from({ length: n }, () => new Float64Array(n))
  for (let i = 0; i < n; i++) {
    for (let j = i; j < n; j++) {
      let sum = 0
      for (let k = j; k < n; k++) sum += turned[i][k] * turned[j][k]
      out[i][j] = out[j][i] = sum
    }
  }
  return out
}

/** Regression of targets on rows with inner products `gram`: weights of the rows, a constant, and what each row gets when it is left out */
function ridge(gram, targets, weights, strength) {
  const n = gram.length
  const trace = gram.reduce((sum, row, i) => sum + row[i], 0)
  const ease = (strength * trace) / Math.sqrt(n)
  const inverted = inverse(gram.map((row, i) => Float64Array.from(row, (value, j) => (i === j ? value + ease / weights[i] : value))))
  const sums = inverted.map(row => row.reduce((a, b) => a + b))
  const total = sums.reduce((a, b) => a + b)
  const constant = targets[0].map((_, c) => sums.reduce((sum, s, i) => sum + s * targets[i][c], 0) / total)
  const alpha = inverted.map((row, i) => constant.map((bias, c) => row.reduce((sum, value, j) => sum + value * targets[j][c], 0) - sums[i] * bias))
  const left = alpha.map((row, i) => row.map((value, c) => targets[i][c] - value / (inverted[i][i] - sums[i] ** 2 / total)))
  return { alpha, constant, left }
}

/** How far each taught class lies above the best of the model's own, for the values of all of them */
const margins = (values, own) => {
  const best = Math.max(...values.slice(0, own))
  return Array.from(values.slice(own), value => value - best)
}

/** Probabilities: of none of the taught classes, and of each */
export function shares(margins, [slope, offset]) {
  const logits = [0, ...margins.map(value => slope * value + offset)]
  const most = Math.max(...logits)
  const powers = logits.map(value => Math.exp(value - most))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map(value => value / sum)
}

/** Slope and offset that make margins probabilities, by Newton's way, and their loss; no target is quite 1 (Platt) */
export function calibrate(all, truth, taught) {
  const counts = new Array(taught + 1).fill(0)
  for (const t of truth) counts[t]++
  const weight = t => 1 / (taught + 1) / counts[t]
  const target = (t, k) => (k === t ? (counts[t] + 1) / (counts[t] + 2) : 1 / (counts[t] + 2) / taught)
  const loss = line => all.reduce((sum, row, i) => sum - weight(truth[i]) * shares(row, line).reduce((part, p, k) => part + target(truth[i], k) * Math.log(p), 0), 0)
  let [line, now] = [[1, 0], loss([1, 0])]
  for (let step = 0; step < 50; step++) {
    const [g, h] = [[0, 0], [1e-9, 0, 1e-9]]
    all.forEach((row, i) => {
      const p = shares(row, line)
      const inputs = [[0, 0], ...row.map(value => [value, 1])]
      const mean = [0, 1].map(c => p.reduce((sum, q, k) => sum + q * inputs[k][c], 0))
      const w = weight(truth[i])
      for (const [k, x] of inputs.entries()) {
        for (const c of [0, 1]) g[c] += w * (p[k] - target(truth[i], k)) * x[c]
        const [u, v] = [x[0] - mean[0], x[1] - mean[1]]
        for (const [c, product] of [u * u, u * v, v * v].entries()) h[c] += w * p[k] * product
      }
    })
    const det = h[0] * h[2] - h[1] ** 2
    const move = [(h[2] * g[0] - h[1] * g[1]) / det, (h[0] * g[1] - h[1] * g[0]) / det]
    let size = 1
    const next = () => line.map((value, c) => value - size * move[c])
    while (size > 1e-6 && !(loss(next()) <= now)) size /= 2
    const before = now
    if (size > 1e-6) [line, now] = [next(), loss(next())]
    if (before - now < 1e-12) break
  }
  return { line: [Math.max(line[0], 1e-3), line[1]], loss: now }
}

const cosines = (row, others) => others.map(other => dot(row, other))

/** The value below which this share of some numbers lies */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = share * (sorted.length - 1)
  const low = Math.floor(at)
  return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low])
}

/** How near a picture must be to one of a class: as near as its own remotest is to the nearest other, and nearer than nearly all of each of the others are */
function nearness(refuses, rows, ...others) {
  const nearest = rows.map((row, i) => Math.max(-1, ...cosines(row, rows.filter((_, j) => j !== i))))
  const strange = others.map(some => quantile(some.map(other => Math.max(...cosines(other, rows))), STRANGE))
  const least = rows.length > 1 ? Math.max(Math.min(...nearest), ...strange) : 1
  return { rows, least, copies: nearest.filter(value => value > COPY).length, refused: nearest.map(value => refuses && value < least) }
}

/** Which class each row gets when it is left out */
function answers(left, own, line) {
  return left.map(values => {
    const p = shares(margins(values, own), line)
    const best = p.indexOf(Math.max(...p))
    return best ? own + best - 1 : values.slice(0, own).indexOf(Math.max(...values.slice(0, own)))
  })
}

/** Learn `lessons`, { name, features } each, beside the model's own classes; `refuses`: the model calls pictures none of these. */
export function fit(known, lessons, refuses = true) {
  const present = [...new Set(known.classes)].sort((a, b) => a - b) // the classes of which there are features
  const own = present.length
  const rows = [...known.rows, ...lessons.flatMap(lesson => lesson.features.map(unit))]
  const truth = [...known.classes.map(c => present.indexOf(c)), ...lessons.flatMap((lesson, t) => lesson.features.map(() => own + t))]
  const counts = new Array(own + lessons.length).fill(0)
  for (const t of truth) counts[t]++
  const weights = truth.map(t => rows.length / counts.length / counts[t])
  const middle = meanOf(rows, weights)
  const centred = rows.map(row => minus(row, middle))
  const gram = centred.map(row => Float64Array.from(cosines(row, centred)))
  const targets = truth.map(t => counts.map((_, c) => (c === t ? 1 : -1)))
  const groups = truth.map(t => Math.max(0, t - own + 1))
  const tried = STRENGTHS.map(strength => {
    const found = ridge(gram, targets, weights, strength)
    return { ...found, ...calibrate(found.left.map(values => margins(values, own)), groups, lessons.length) }
  })
  const best = tried.reduce((a, b) => (b.loss < a.loss ? b : a))
  const columns = counts.map((_, c) => combined(centred, best.alpha.map(row => row[c])))
  const home = meanOf(known.rows, known.rows.map(() => 1))
  const fromHome = rows => rows.map(row => unit(minus(unit(row), home)))
  const near = lessons.map(lesson => nearness(refuses, ...[lesson.features, known.rows, known.strangers].map(fromHome)))
  const said = answers(best.left, own, best.line)
  return { own, middle, columns, constant: best.constant, line: best.line, home, near, report: report(lessons, present, truth, said, near) }
}

/** What leaving one out tells: of each class its pictures, the classes that they get, and how many are nearly copies; and of the model's own pictures */
function report(lessons, present, truth, said, near) {
  const own = present.length
  const name = c => (c < own ? { own: present[c] } : { taught: lessons[c - own].name })
  const classes = lessons.map((lesson, t) => {
    const mine = said.filter((_, i) => truth[i] === own + t)
    const others = [...new Set(mine)].filter(c => c !== own + t).map(c => ({ ...name(c), n: mine.filter(s => s === c).length }))
    const right = mine.length > 1 ? mine.filter((c, i) => c === own + t && !near[t].refused[i]).length : 0
    return { name: lesson.name, n: mine.length, right, others, copies: near[t].copies, refused: near[t].refused.filter(Boolean).length }
  })
  const old = said.filter((_, i) => truth[i] < own)
  return { classes, own: { n: old.length, lost: old.filter(c => c >= own).length } }
}

/** Answers with the taught classes: { probabilities (N, classes + taught), novelty } for what the model says, with `features` (N, d). */
export function extend(taught, { probabilities, novelty, features }, threshold) {
  const n = features.length / taught.middle.length
  const [d, k, t] = [taught.middle.length, probabilities.length / n, taught.near.length]
  const out = { probabilities: new Float32Array(n * (k + t)), novelty: novelty && Float32Array.from(novelty) }
  for (let i = 0; i < n; i++) {
    const row = unit(features.slice(i * d, (i + 1) * d))
    const centred = minus(row, taught.middle)
    const values = taught.columns.map((column, c) => dot(centred, column) + taught.constant[c])
    const [rest, ...mine] = shares(margins(values, taught.own), taught.line)
    out.probabilities.set(probabilities.slice(i * k, (i + 1) * k).map(p => p * rest), i * (k + t))
    out.probabilities.set(mine, i * (k + t) + k)
    if (!novelty || threshold === null) continue
    const place = unit(minus(row, taught.home))
    const beyond = Math.min(...taught.near.map(({ rows, least }) => least - Math.max(...cosines(place, rows))))
    out.novelty[i] = Math.min(novelty[i], threshold + beyond) // near to a taught picture is not new
  }
  return out
}
