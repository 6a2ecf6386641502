import { fitFrame } from '../shared/frame.js'
import { readLayer, run, softmax } from './layers.js'
import { buildMaps, choice, showMaps, toggleLogit } from './maps.js'
import { $, element } from './paint.js'
import { centred, covered, fromBytes, moved, normalised, shrunk, toBytes } from './pictures.js'

// What Python has written, and what is chosen

const given = JSON.parse($('beginning').textContent)
const layers = given.layers.map(readLayer)
const [rows, columns] = given.sides
const channels = given.channels
const showsLayers = given.show === 'layers'
const PAD = Math.max(3, Math.round(290 / columns)) // pixels of the pad to one of the network's

const SLIDERS = {
  right: { name: 'Shift to the right', least: -Math.floor(columns / 2), most: Math.floor(columns / 2), step: 1, unit: ' px' },
  down: { name: 'Shift down', least: -Math.floor(rows / 2), most: Math.floor(rows / 2), step: 1, unit: ' px' },
  turn: { name: 'Turn clockwise', least: -180, most: 180, step: 5, unit: '°' },
  size: { name: 'Size', least: 40, most: 160, step: 5, unit: '%' },
  hide: { name: 'Hide a square of', least: 0, most: Math.floor(Math.min(rows, columns) * 0.6), step: 1, unit: ' px' },
}
const START = { picture: 0, right: 0, down: 0, turn: 0, size: 100, hide: 0 }
const state = { ...START, row: rows / 2, column: columns / 2, signals: null }
let examples = []

// From the picture chosen to the answer

const isDrawn = () => state.picture === 'drawn'
const padPen = () => $('pad').getContext('2d', { willReadFrequently: true })

function drawnPicture() {
  const { width, height } = $('pad')
  const drawing = fromBytes(padPen().getImageData(0, 0, width, height).data, height, width, channels)
  return $('centre').checked ? centred(drawing, rows, columns) : shrunk(drawing, rows, columns)
}

let drawn = null // kept while only the sliders move
function chosenPicture() {
  if (!isDrawn()) return examples[state.picture]
  drawn ??= drawnPicture()
  return drawn
}

function seenPicture() {
  const picture = moved(chosenPicture(), { ...state, size: state.size / 100 })
  return covered(picture, { side: state.hide, row: state.row, column: state.column }, given.mean)
}

function asInput(picture) {
  if (picture.channels === given.inputs) return normalised(picture, given.mean, given.std)
  const values = new Float32Array(given.inputs * rows * columns)
  for (let i = 0; i < given.inputs; i++) values.set(picture.values, i * rows * columns)
  return normalised({ ...picture, channels: given.inputs, values }, given.mean, given.std)
}

let waiting = false
function update() {
  if (waiting) return
  waiting = true
  requestAnimationFrame(() => {
    waiting = false
    updateNow()
  })
}

function updateNow() {
  const picture = seenPicture()
  state.signals = run(layers, asInput(picture))
  const shares = softmax(state.signals.at(-1).values)
  showSeen(picture)
  showAnswer(shares)
  showSliders()
  if (showsLayers) showInside()
  remember()
}

let isBuilt = false
function showInside() {
  if (isBuilt) return showMaps(state.signals)
  isBuilt = true
  const inputs = examples.map(asInput)
  const { layer, map } = wanted()
  const beginning = { signals: state.signals, layer: Number(layer), map: Number(map ?? 0), onChoice: remember }
  buildMaps({ layers, classes: given.classes, colours: given.inputs === 3 && channels === 3, inputs, ...beginning })
}

// What is seen

function paintPicture(canvas, picture) {
  const pen = canvas.getContext('2d')
  pen.putImageData(new ImageData(toBytes(picture), picture.columns, picture.rows), 0, 0)
}

function showSeen(picture) {
  const small = new OffscreenCanvas(columns, rows)
  paintPicture(small, picture)
  const canvas = $('seen')
  const pen = canvas.getContext('2d')
  const scale = canvas.width / columns
  pen.imageSmoothingEnabled = false
  pen.drawImage(small, 0, 0, canvas.width, canvas.height)
  if (!state.hide) return
  const box = [Math.round(state.column - state.hide / 2), Math.round(state.row - state.hide / 2), state.hide, state.hide]
  for (const [colour, width] of [['#000', 5], ['#ffd54a', 2]]) {
    Object.assign(pen, { strokeStyle: colour, lineWidth: width })
    pen.strokeRect(...box.map((value) => value * scale))
  }
}

const percent = (share) => {
  if (share > 0.999 && share < 1) return '> 99.9%'
  return `${(100 * share).toFixed(1)}%`
}

function answerInWords(shares) {
  const order = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a])
  const [first, second] = order
  const name = (i) => element('strong', {}, given.classes[i])
  if (shares[first] > 0.9) return ['It says ', name(first), ', and is sure.']
  if (shares[first] > 0.6) return ['It says ', name(first), ', but is not sure: perhaps ', given.classes[second], '.']
  return ['It cannot decide: ', name(first), ' or ', given.classes[second], '?']
}

function showAnswer(shares) {
  const lead = shares.indexOf(Math.max(...shares))
  shares.forEach((share, i) => {
    const bar = $(`class_${i}`)
    bar.classList.toggle('lead', i === lead)
    bar.querySelector('.fill').style.transform = `scaleX(${share})`
    bar.querySelector('.share').textContent = percent(share)
  })
  const words = answerInWords(shares)
  const text = words.map((part) => part.textContent ?? part).join('')
  if ($('said').textContent === text) return // so that it is read aloud only when it changes
  $('said').replaceChildren(...words)
  $('said_here').textContent = text
}

function showSliders() {
  for (const [name, { unit }] of Object.entries(SLIDERS)) {
    $(name).value = state[name]
    const value = `${state[name]}`.replace('-', '\u2212') + unit
    $(name).setAttribute('aria-valuetext', value)
    $(`${name}_value`).textContent = value
  }
  const what = state.hide ? 'moves the square' : 'shifts the picture'
  const label = given.labels?.[state.picture]
  $('seen_title').textContent = label ? `What the network sees (label: ${label})` : 'What the network sees'
  $('seen').style.touchAction = state.hide ? 'none' : 'pan-y' // a phone's page can be scrolled from here
  $('seen_help').textContent = `${rows} × ${columns} pixels. Drag it, or use the arrow keys: that ${what}.`
  $('reset').disabled = Object.keys(SLIDERS).every((name) => state[name] === START[name])
}

// What can be chosen

function exampleButton(source, i) {
  const name = given.labels?.[i] ? `Example ${i + 1}, ${given.labels[i]}` : `Example ${i + 1}`
  const input = element('input', { type: 'radio', name: 'picture', value: String(i) })
  input.addEventListener('change', () => choose(i))
  return element('label', { title: name }, input, element('img', { src: source, alt: name }))
}

function drawButton() {
  const input = element('input', { type: 'radio', name: 'picture', value: 'drawn' })
  input.addEventListener('change', () => choose('drawn'))
  return element('label', {}, input, element('span', { className: 'draw' }, '\u270e Draw'))
}

function choose(picture) {
  state.picture = picture
  for (const input of document.getElementsByName('picture')) input.checked = input.value === String(picture)
  $('pad_figure').hidden = $('tools').hidden = !isDrawn()
  $('paint').hidden = isDrawn()
  document.body.classList.toggle('drawing', isDrawn())
  update()
}

function slider(name, { name: text, least, most, step }) {
  const input = element('input', { id: name, type: 'range', min: least, max: most, step })
  input.addEventListener('input', () => {
    state[name] = Number(input.value)
    update()
  })
  return element('label', {}, element('span', {}, text), element('output', { id: `${name}_value`, for: name }), input)
}

function bar(name, i) {
  const parts = [
    element('span', { className: 'name' }, name),
    element('span', { className: 'track' }, element('span', { className: 'fill' })),
    element('span', { className: 'share' }),
  ]
  const made = element(showsLayers ? 'button' : 'div', { id: `class_${i}`, className: 'bar' }, ...parts)
  if (showsLayers) {
    Object.assign(made, { type: 'button' }).setAttribute('aria-expanded', 'false')
    made.addEventListener('click', () => toggleLogit(i))
  }
  return element('li', {}, made)
}

$('reset').addEventListener('click', () => {
  for (const name of Object.keys(SLIDERS)) state[name] = START[name]
  Object.assign(state, { row: rows / 2, column: columns / 2 })
  update()
})

// Moving the picture, or the square that hides a part of it

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }
const within = (value, least, most) => Math.min(most, Math.max(least, value))

function moveBy(down, right) {
  if (state.hide) {
    state.row = within(state.row + down, 0, rows)
    state.column = within(state.column + right, 0, columns)
  } else {
    state.down = within(state.down + down, SLIDERS.down.least, SLIDERS.down.most)
    state.right = within(state.right + right, SLIDERS.right.least, SLIDERS.right.most)
  }
  update()
}

function pixelAt(canvas, event, scale) {
  const box = canvas.getBoundingClientRect()
  const [y, x] = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width]
  return [y * rows * scale, x * columns * scale]
}

$('seen').addEventListener('keydown', (event) => {
  if (!ARROWS[event.key]) return
  moveBy(...ARROWS[event.key])
  event.preventDefault()
})

let grip = null // where the pointer took hold of the picture
$('seen').addEventListener('pointerdown', (event) => {
  grip = pixelAt($('seen'), event, 1)
  $('seen').setPointerCapture(event.pointerId)
  if (state.hide) moveBy(Math.floor(grip[0]) - state.row, Math.floor(grip[1]) - state.column)
})
$('seen').addEventListener('pointermove', (event) => {
  if (!grip) return
  const at = pixelAt($('seen'), event, 1)
  const [down, right] = [Math.trunc(at[0] - grip[0]), Math.trunc(at[1] - grip[1])]
  if (!down && !right) return
  grip = [grip[0] + down, grip[1] + right]
  moveBy(down, right)
})
for (const name of ['pointerup', 'pointercancel'])
  $('seen').addEventListener(name, () => {
    grip = null
  })

// Drawing

const COLOURS = {
  white: '#ffffff',
  grey: '#8c8c8c',
  rust: '#b5532a',
  sand: '#d9b07a',
  gold: '#ecd9a2',
  green: '#4c8a3a',
  blue: '#2f6fc4',
  'dark blue': '#173a78',
  black: '#000000',
}
const brush = { colour: COLOURS.white, last: null, row: rows / 2, column: columns / 2, down: false }
const past = [] // of the pad, for undo

function emptyPad() {
  const pen = padPen()
  pen.fillStyle = '#000'
  pen.fillRect(0, 0, $('pad').width, $('pad').height)
}

function keepForUndo() {
  past.push(padPen().getImageData(0, 0, $('pad').width, $('pad').height))
  if (past.length > 20) past.shift()
}

function changed() {
  drawn = null
  $('undo').disabled = !past.length
  update()
}

function stroke(row, column) {
  const pen = padPen()
  const [fromRow, fromColumn] = brush.last ?? [row, column]
  Object.assign(pen, { strokeStyle: brush.colour, lineWidth: Number($('brush').value) * PAD, lineCap: 'round', lineJoin: 'round' })
  pen.beginPath()
  pen.moveTo(fromColumn * PAD, fromRow * PAD)
  pen.lineTo(column * PAD + 0.01, row * PAD)
  pen.stroke()
  brush.last = [row, column]
  changed()
}

$('pad').addEventListener('pointerdown', (event) => {
  keepForUndo()
  $('pad').setPointerCapture(event.pointerId)
  brush.last = null
  brush.pointer = true
  stroke(...pixelAt($('pad'), event, 1))
})
$('pad').addEventListener('pointermove', (event) => {
  if (!brush.pointer) return
  for (const each of event.getCoalescedEvents?.() ?? [event]) stroke(...pixelAt($('pad'), each, 1))
})
for (const name of ['pointerup', 'pointercancel'])
  $('pad').addEventListener(name, () => {
    brush.pointer = false
    brush.last = null
  })

// By keys: the brush is a place that the arrows move
function liftOrLower() {
  brush.down = !brush.down
  brush.last = null
  if (brush.down) {
    keepForUndo()
    stroke(brush.row, brush.column)
  }
  sayPen()
}

function sayPen() {
  const place = `row ${Math.round(brush.row)}, column ${Math.round(brush.column)}`
  $('pen').textContent = `Brush ${brush.down ? 'down' : 'up'}, ${place}`
  $('brush_at').hidden = false
  $('brush_at').classList.toggle('down', brush.down)
  Object.assign($('brush_at').style, { top: `${(100 * brush.row) / rows}%`, left: `${(100 * brush.column) / columns}%` })
}

$('pad').addEventListener('keydown', (event) => {
  if (event.key === ' ') liftOrLower()
  else if (ARROWS[event.key]) {
    const [down, right] = ARROWS[event.key]
    brush.row = within(brush.row + down, 0, rows)
    brush.column = within(brush.column + right, 0, columns)
    if (brush.down) stroke(brush.row, brush.column)
    sayPen()
  } else return
  event.preventDefault()
})
$('pad').addEventListener('blur', () => {
  brush.down = false
  brush.last = null
  $('brush_at').hidden = true
})

function colourButton([name, colour]) {
  const button = element('button', { type: 'button', title: name, 'aria-label': name, 'aria-pressed': String(colour === brush.colour) })
  button.style.background = colour
  button.addEventListener('click', () => {
    brush.colour = colour
    for (const each of $('colours').querySelectorAll('button')) each.setAttribute('aria-pressed', String(each === button))
  })
  return button
}

$('undo').addEventListener('click', () => {
  if (past.length) padPen().putImageData(past.pop(), 0, 0)
  changed()
})
$('clear').addEventListener('click', () => {
  keepForUndo()
  emptyPad()
  $('centre').checked = given.centre
  changed()
})
$('centre').addEventListener('change', changed)
$('paint').addEventListener('click', () => {
  const small = new OffscreenCanvas(columns, rows)
  paintPicture(small, examples[state.picture])
  keepForUndo()
  padPen().imageSmoothingEnabled = false
  padPen().drawImage(small, 0, 0, $('pad').width, $('pad').height)
  $('centre').checked = false
  changed()
  choose('drawn')
  $('pad').focus()
})

// The address keeps what is chosen, where the page has one

const hasAddress = /^(https?|file):$/.test(location.protocol)

let later = null
function remember() {
  if (!hasAddress) return
  clearTimeout(later) // a browser refuses too many changes of the address at once
  later = setTimeout(writeAddress, 250)
}

function writeAddress() {
  const kept = Object.fromEntries([...Object.keys(START), 'row', 'column'].map((name) => [name, state[name]]))
  if (showsLayers && choice().layer !== null) Object.assign(kept, choice())
  history.replaceState(null, '', `#${new URLSearchParams(kept)}`)
}

// What the address wants, where it makes sense, else what Python has written
const address = new URLSearchParams(hasAddress ? location.hash.slice(1) : '')
const makesSense = ([name, value]) => (value && Number.isFinite(Number(value))) || (name === 'picture' && value === 'drawn')
const wanted = () => ({ ...given.settings, ...Object.fromEntries([...address].filter(makesSense)) })

function recall() {
  const settings = wanted()
  const take = (name, least, most) => {
    if (name in settings) state[name] = within(Number(settings[name]), least, most)
  }
  for (const [name, { least, most }] of Object.entries(SLIDERS)) take(name, least, most)
  take('row', 0, rows)
  take('column', 0, columns)
  const picture = Number(settings.picture)
  return settings.picture === 'drawn' ? 'drawn' : examples[picture] ? picture : 0
}

// The beginning

async function readExample(source) {
  const image = new Image()
  image.src = source
  await image.decode()
  const pen = new OffscreenCanvas(columns, rows).getContext('2d')
  pen.drawImage(image, 0, 0)
  return fromBytes(pen.getImageData(0, 0, columns, rows).data, rows, columns, channels)
}

function setUp() {
  for (const name of ['seen', 'pad']) Object.assign($(name), { width: columns * PAD, height: rows * PAD })
  $('examples').append(...given.images.map(exampleButton), drawButton())
  $('bars').append(...given.classes.map(bar))
  $('bars').style.setProperty('--names', `${Math.min(9, Math.max(...given.classes.map((name) => name.length)) * 0.62 + 0.5)}rem`)
  $('sliders').append(...Object.entries(SLIDERS).map(([name, about]) => slider(name, about)))
  $('colours').append(...Object.entries(COLOURS).map(colourButton))
  $('colours').hidden = channels === 1
  Object.assign($('brush'), { max: Math.round(rows / 7), value: rows / 13 })
  $('centring').hidden = channels !== 1
  $('centre').checked = given.centre
  $('undo').disabled = true
  $('bars_help').hidden = !showsLayers
  emptyPad()
}

async function begin() {
  examples = await Promise.all(given.images.map(readExample))
  setUp()
  choose(recall())
}

begin()

fitFrame()
