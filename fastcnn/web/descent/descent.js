import { fitFrame } from '../shared/frame.js'
import { CURVES, isInside, nextStep, shortNumber, walkFrom, whereabouts } from './arithmetic.js'

const $ = (id) => document.getElementById(id)
const MOST_STEPS = 200 // of one run

const state = { walk: [] } // each step from the start on: {steps, w, mean}

const curve = () => CURVES[$('curve').value]
const rate = () => Number($('rate').value)
const momentum = () => Number($('momentum').value)
const here = () => state.walk.at(-1)

// The picture: the curve, the slope where the ball lies, the places where it was

const weights = () => Array.from({ length: 201 }, (_, i) => curve().from + (i / 200) * (curve().to - curve().from))

// Sizes are those of the page, so that the writing is as large on a telephone; what is drawn is as sharp as the screen
function sized(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight]
  Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio })
  canvas.getContext('2d').scale(devicePixelRatio, devicePixelRatio)
  return { width, height }
}

function scales({ width, height }) {
  const { loss, from, to } = curve()
  const losses = weights().map(loss)
  const [low, high] = [Math.min(0, ...losses), Math.max(...losses)]
  const across = (w) => 44 + ((w - from) / (to - from)) * (width - 60)
  const up = (value) => height - 44 - ((value - low) / (high - low)) * (height - 64)
  return { across, up, high, width, height }
}

function drawLine(pen, points, colour, width) {
  pen.beginPath()
  for (const [x, y] of points) pen.lineTo(x, y)
  Object.assign(pen, { strokeStyle: colour, lineWidth: width })
  pen.stroke()
}

function drawAxes(pen, { across, up, high, width, height }, ink) {
  Object.assign(pen, { fillStyle: ink, font: '14px system-ui', textAlign: 'center', textBaseline: 'top' })
  drawLine(pen, [[44, 12], [44, height - 40], [width - 8, height - 40]], ink, 1)
  for (let w = Math.ceil(curve().from); w <= curve().to; w++) pen.fillText(shortNumber(w), across(w), height - 36)
  pen.fillText('weight w', width / 2, height - 19)
  Object.assign(pen, { textAlign: 'right', textBaseline: 'middle' })
  for (const part of [0, 0.5, 1]) {
    const value = Math.round((high * part) / 5) * 5
    pen.fillText(shortNumber(value), 38, Math.max(12, up(value)))
  }
  Object.assign(pen, { textAlign: 'left' })
  pen.fillText('loss', 50, 14)
}

function drawTangent(pen, { across, up }, w, colour) {
  const { loss, slope, from, to } = curve()
  const reach = (to - from) / 8
  const ends = [-reach, reach].map((d) => [across(w + d), up(loss(w) + d * slope(w))])
  pen.setLineDash([6, 4])
  drawLine(pen, ends, colour, 2)
  pen.setLineDash([])
}

function drawBall(pen, { across, up }, w, radius, colour) {
  pen.beginPath()
  pen.arc(across(w), up(curve().loss(w)), radius, 0, 2 * Math.PI)
  pen.fillStyle = colour
  pen.fill()
}

function pictureInWords() {
  const { w } = here()
  if (!isInside(curve(), w)) return 'A curve of the loss over the weight; the ball is out of the picture'
  const [loss, slope] = [curve().loss(w), curve().slope(w)].map(shortNumber)
  return `A curve of the loss over the weight, and a ball on it at w = ${shortNumber(w)}: loss ${loss}, slope ${slope}`
}

function draw() {
  const pen = $('hill').getContext('2d')
  const colours = getComputedStyle(document.documentElement)
  const [ink, line, accent, mark] = ['--ink', '--line', '--accent', '--mark'].map((c) => colours.getPropertyValue(c))
  const scale = scales(sized(pen.canvas))
  const seen = state.walk.filter(({ w }) => isInside(curve(), w))
  const place = ({ w }) => [scale.across(w), scale.up(curve().loss(w))]
  drawAxes(pen, scale, ink)
  drawLine(pen, weights().map((w) => place({ w })), line, 3)
  drawLine(pen, seen.slice(-40).map(place), mark, 1)
  for (const { w } of seen.slice(-40)) drawBall(pen, scale, w, 4, mark)
  if (!isInside(curve(), here().w)) return
  drawTangent(pen, scale, here().w, accent)
  drawBall(pen, scale, here().w, 11, accent)
}

// The same in numbers

const signed = (value) => (value < 0 ? `(${shortNumber(value)})` : shortNumber(value))

function nextInWords() {
  const { w, mean } = here()
  const slope = curve().slope(w)
  const next = nextStep(here(), curve(), rate(), momentum())
  const parts = `${momentum()} · ${signed(mean)} + ${shortNumber(1 - momentum())} · ${signed(slope)}`
  const used = momentum() ? next.mean : slope
  const lines = [`slope at w = ${shortNumber(w)}: ${shortNumber(slope)}`]
  if (momentum()) lines.push(`rolling mean = ${parts} = ${shortNumber(next.mean)}`)
  lines.push(`w ← ${shortNumber(w)} − ${rate()} · ${signed(used)} = ${shortNumber(next.w)}`)
  return lines.join('\n')
}

function tableRow({ steps, w }) {
  const row = document.createElement('tr')
  for (const value of [steps, w, curve().loss(w), curve().slope(w)]) row.insertCell().textContent = shortNumber(value)
  return row
}

const MESSAGES = {
  lost: () => 'Out of the picture: the steps are too long. Reset, and take a smaller learning rate.',
  arrived: () => {
    const best = Math.abs(here().w - curve().best) < 0.05
    const after = `After ${here().steps} steps the slope is 0 here`
    return best ? `${after}: the lowest point.` : `${after}, but a lower point is elsewhere: this valley holds the ball.`
  },
  walking: () => '',
}

function show() {
  const place = whereabouts(curve(), here())
  for (const id of ['rate', 'momentum', 'start']) $(`${id}_shown`).textContent = shortNumber(Number($(id).value))
  $('next').textContent = place === 'lost' ? '' : nextInWords()
  $('walked').replaceChildren(...state.walk.slice(-6).map(tableRow))
  $('hill').setAttribute('aria-label', pictureInWords())
  $('message').textContent = timer ? '' : MESSAGES[place]()
  $('step').disabled = place === 'lost'
  $('run').disabled = place !== 'walking' && !timer
  draw()
}

// Walking

let timer = null
let runEnds = 0

function setRunning(running) {
  clearInterval(timer)
  timer = running ? setInterval(runOneStep, 150) : null
  runEnds = here().steps + MOST_STEPS
  $('run').textContent = running ? 'Stop' : 'Run'
  $('run').setAttribute('aria-pressed', String(running))
  show()
}

function takeStep() {
  state.walk.push(nextStep(here(), curve(), rate(), momentum()))
  show()
}

function runOneStep() {
  takeStep()
  if (whereabouts(curve(), here()) !== 'walking' || here().steps >= runEnds) setRunning(false)
}

function reset() {
  state.walk = [walkFrom(Number($('start').value))]
  setRunning(false)
}

function chooseCurve() {
  Object.assign($('start'), { min: curve().from, max: curve().to })
  $('start').value = curve().start
  reset()
}

$('curve').replaceChildren(...Object.keys(CURVES).map((name) => new Option(name)))
$('curve').addEventListener('change', chooseCurve)
$('start').addEventListener('input', reset)
for (const id of ['rate', 'momentum']) $(id).addEventListener('input', show)
$('step').addEventListener('click', takeStep)
$('run').addEventListener('click', () => setRunning(!timer))
$('reset').addEventListener('click', reset)
$('settings').addEventListener('submit', (event) => event.preventDefault())
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw)
new ResizeObserver(draw).observe($('hill'))

// The beginning: settings by the names of their fields

function begin({ curve: name, ...fields }) {
  if (name) $('curve').value = name
  Object.assign($('start'), { min: curve().from, max: curve().to, value: curve().start })
  for (const [id, value] of Object.entries(fields)) $(id).value = value
  reset()
}

begin(JSON.parse($('beginning').textContent))

fitFrame()
