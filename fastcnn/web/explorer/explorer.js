import { fitFrame } from '../shared/frame.js'
import {
  correlate,
  DEFAULTS,
  fromHash,
  isIn,
  LIMITS,
  paddedValue,
  placesAt,
  pool,
  shortNumber,
  sideOf,
  sumOfProducts,
  toHash,
  toPython,
  whyImpossible,
  windowAt,
} from './arithmetic.js'

const $ = (id) => document.getElementById(id)

// Pictures and kernels to begin with

function planet(y, x, n) {
  const a = (x - n / 2 + 0.5) / (n * 0.42)
  const b = (y - n / 2 + 0.5) / (n * 0.42)
  const squaredHeight = 1 - a * a - b * b
  if (squaredHeight < 0) return 0
  const light = 0.75 * (Math.sqrt(squaredHeight) * 0.8 - a * 0.5 - b * 0.3)
  return Math.max(0, Math.min(1, 0.25 + light + 0.15 * Math.sin(9 * b)))
}

// Full within, empty without, and on the rim as much as the pixel is covered
const disc = (distance, radius) => Math.max(0, Math.min(1, radius + 0.5 - distance))

const PICTURES = {
  'a bar': (_y, x, n) => (Math.abs(x - (n - 1) / 2) < n / 6 ? 1 : 0),
  'a disc': (y, x, n) => disc(Math.hypot(y - (n - 1) / 2, x - (n - 1) / 2), n / 3),
  'a planet': planet,
  'a slope': (_y, x, n) => x / (n - 1),
  'a corner': (y, x, n) => (y >= n / 2 && x >= n / 2 ? 1 : 0),
  'a diagonal': (y, x) => (Math.abs(y - x) < 1 ? 1 : 0),
  'a chessboard': (y, x) => (y + x) % 2,
  'one point': (y, x, n) => (y === Math.floor(n / 2) && x === Math.floor(n / 2) ? 1 : 0),
}
const KERNELS = {
  'vertical edges (Prewitt)': [-1, 0, 1, -1, 0, 1, -1, 0, 1],
  'horizontal edges (Prewitt)': [-1, -1, -1, 0, 0, 0, 1, 1, 1],
  'vertical edges (Sobel)': [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  'horizontal edges (Sobel)': [-1, -2, -1, 0, 0, 0, 1, 2, 1],
  mean: Array(9).fill(1 / 9),
  sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  'all around (Laplace)': [0, 1, 0, 1, -4, 1, 0, 1, 0],
  'nothing (identity)': [0, 0, 0, 0, 1, 0, 0, 0, 0],
  'your own': null,
}

// What is chosen, and what follows from it

const state = {
  image: null,
  kernel: KERNELS['vertical edges (Prewitt)'].slice(),
  row: 0,
  column: 0,
  cursor: [0, 0],
  out: null,
  pooled: null,
}

function number(id) {
  const value = Math.round(Number($(id).value))
  const [least, most] = LIMITS[id]
  return Number.isFinite(value) ? Math.min(most, Math.max(least, value)) : least
}

const sliding = () => ({
  stride: number('stride'),
  padding: number('padding'),
  mode: $('mode').value,
  dilation: number('dilation'),
})
const kernelUsed = () => ($('flipped').value ? state.kernel.slice().reverse() : state.kernel)

function squareMap(n, valueAt) {
  return { rows: n, columns: n, values: Array.from({ length: n * n }, (_, i) => valueAt(Math.floor(i / n), i % n, n)) }
}

function paint(name) {
  state.image = squareMap(number('size'), PICTURES[name] ?? (() => 0))
  update()
}

function compute() {
  state.out = correlate(state.image, kernelUsed(), sliding())
  if ($('relu').value) state.out.values = state.out.values.map((value) => Math.max(0, value))
  if ($('pool').value) state.pooled = pool(state.out, $('pool').value, number('pool_size'), number('pool_stride'))
  state.row = Math.min(state.row, state.out.rows - 1)
  state.column = Math.min(state.column, state.out.columns - 1)
}

function formula() {
  if (!state.out) return ''
  const { stride, padding, dilation } = sliding()
  const side = sideOf(state.kernel)
  const { rows } = state.out
  const first = `⌊(${state.image.rows} + 2·${padding} − ${dilation}·(${side} − 1) − 1)/${stride}⌋ + 1 = ${rows}`
  if (!state.pooled) return `Size: ${first}`
  return `Size: ${first}, then ⌊(${rows} − ${number('pool_size')})/${number('pool_stride')}⌋ + 1 = ${state.pooled.rows}`
}

function update() {
  const poolSide = $('pool').value ? number('pool_size') : 0
  const problem = whyImpossible(state.image, sideOf(state.kernel), sliding(), poolSide)
  state.out = state.pooled = null
  if (!problem) compute()
  $('message').textContent = problem
  $('formula').textContent = formula()
  $('pooled_figure').hidden = !state.pooled
  if (!state.beginning) keepSoon()
  show()
}

// What is seen

// Without signs from black to white; with signs red for minus, white for 0, blue for plus
const MINUS = [178, 24, 43]
const PLUS = [33, 102, 172]

function colour(value, share, signed) {
  if (!signed) return `rgb(${255 * share}, ${255 * share}, ${255 * share})`
  return `rgb(${(value < 0 ? MINUS : PLUS).map((full) => 255 - (255 - full) * share)})`
}

function rangeOf(map) {
  const low = Math.min(0, ...map.values)
  return { high: Math.max(1e-9, -low, ...map.values), signed: low < 0 }
}

// Slanted lines over a cell of the padding, so that nobody takes it for the image
function hatch(pen, x, y, cell) {
  pen.save()
  pen.beginPath()
  pen.rect(x, y, cell, cell)
  pen.clip()
  pen.fillStyle = 'rgba(255, 181, 71, 0.4)'
  pen.fillRect(x, y, cell, cell)
  pen.lineWidth = 1.5
  pen.strokeStyle = '#c77700'
  for (let at = -cell; at < cell; at += Math.max(5, cell / 6)) {
    pen.moveTo(x + at, y + cell)
    pen.lineTo(x + at + cell, y)
  }
  pen.stroke()
  pen.restore()
}

function writeValue(pen, value, [x, y, cell], ink, outlined) {
  const text = [shortNumber(value), x + cell / 2, y + cell / 2, cell * 0.92]
  if (outlined) {
    pen.lineWidth = cell / 9
    pen.strokeStyle = '#000'
    pen.strokeText(...text)
  }
  pen.fillStyle = ink
  pen.fillText(...text)
}

function drawCell(pen, value, box, { high, signed }, isPadding) {
  const [x, y, cell] = box
  const share = Math.abs(value) / high
  pen.fillStyle = colour(value, share, signed)
  pen.fillRect(x, y, cell + 0.5, cell + 0.5)
  if (isPadding) hatch(pen, x, y, cell)
  if (cell < 26) return // too small to write in
  const pale = signed ? share < 0.6 : share > 0.5
  writeValue(pen, value, box, isPadding || !pale ? '#fff' : '#000', isPadding)
}

function drawCells(pen, map, cell, margin, mode) {
  const range = rangeOf(map)
  for (let row = -margin; row < map.rows + margin; row++)
    for (let column = -margin; column < map.columns + margin; column++) {
      const box = [(column + margin) * cell, (row + margin) * cell, cell]
      drawCell(pen, paddedValue(map, row, column, mode), box, range, !isIn(map, row, column))
    }
}

function frame(pen, [row, column], cell, width, ink) {
  Object.assign(pen, { lineWidth: width, strokeStyle: ink })
  pen.strokeRect(column * cell + 3, row * cell + 3, cell - 6, cell - 6)
}

// The side of a drawn map; its canvas has two pixels for each of these, so that small numbers stay sharp
const SIDE = 416

// A map with so many cells of padding around it; the window's cells framed, and the cursor
function draw(canvas, map, marks = [], { margin = 0, mode = 'zeros', cursor = null } = {}) {
  const pen = canvas.getContext('2d')
  const cell = SIDE / (Math.max(map.rows, map.columns) + 2 * margin)
  const inside = ([row, column]) => [row + margin, column + margin]
  pen.setTransform(2, 0, 0, 2, 0, 0)
  pen.clearRect(0, 0, SIDE, SIDE)
  Object.assign(pen, { font: `${cell / 3.6}px system-ui`, textAlign: 'center', textBaseline: 'middle' })
  drawCells(pen, map, cell, margin, mode)
  Object.assign(pen, { lineWidth: 3, strokeStyle: '#c77700' })
  if (margin) pen.strokeRect(margin * cell, margin * cell, map.columns * cell, map.rows * cell)
  for (const mark of marks) frame(pen, inside(mark), cell, 6, '#000')
  for (const mark of marks) frame(pen, inside(mark), cell, 3, '#ffd400')
  if (!cursor) return
  frame(pen, inside(cursor), cell, 4, '#fff')
  pen.setLineDash([4, 4])
  frame(pen, inside(cursor), cell, 4, '#0b57d0')
  pen.setLineDash([])
}

// The bar below a map: which number each end of its colours stands for
function showScale(id, map) {
  $(id).hidden = !map
  if (!map) return
  const { high, signed } = rangeOf(map)
  const [least, most] = [signed ? shortNumber(-high) : '0', shortNumber(high)]
  $(id).classList.toggle('signed', signed)
  $(id).firstElementChild.textContent = least
  $(id).lastElementChild.textContent = most
  const words = signed ? `red for minus, white for 0, blue for plus` : 'black for 0, white for the largest'
  $(id).setAttribute('aria-label', `Colours from ${least} to ${most}: ${words}`)
}

function productsInWords(seen, places) {
  if (!state.out) return ''
  const weights = kernelUsed()
  const beyond = places.map((place) => !isIn(state.image, ...place))
  const factor = (weight) => (weight < 0 ? `(${shortNumber(weight)})` : shortNumber(weight))
  const terms = seen.map(([, , value], i) => `${shortNumber(value)}${beyond[i] ? '\u00b0' : ''}·${factor(weights[i])}`)
  const sum = sumOfProducts(seen, weights)
  const afterwards = $('relu').value && sum < 0 ? ', after ReLU 0' : ''
  const footnote = beyond.includes(true) ? '   (° padding)' : ''
  return `Row ${state.row}, column ${state.column}: ${terms.join(' + ')} = ${shortNumber(sum)}${afterwards}${footnote}`
}

function showTitles() {
  const size = (map) => `${map.rows} × ${map.columns}`
  const relu = $('relu').value ? ' and ReLU' : ''
  $('in_title').textContent = `Image, ${size(state.image)}`
  $('out_title').textContent = state.out ? `After the convolution${relu}, ${size(state.out)}` : 'No output'
  if (state.pooled) $('pooled_title').textContent = `After the pooling, ${size(state.pooled)}`
}

function showButtons() {
  $('first').disabled = $('back').disabled = !state.out || position() === 0
  $('last').disabled = $('on').disabled = !state.out || position() === lastPosition()
  $('play').disabled = !state.out
}

function showMaps(places) {
  const { padding, mode } = sliding()
  const cursor = document.activeElement === $('in') ? state.cursor : null
  draw($('in'), state.image, places, { margin: padding, mode, cursor })
  if (state.out) draw($('out'), state.out, [[state.row, state.column]])
  else $('out').getContext('2d').clearRect(0, 0, SIDE, SIDE)
  if (state.pooled) draw($('pooled'), state.pooled)
  showScale('in_scale', state.image)
  showScale('out_scale', state.out)
  showScale('pooled_scale', state.pooled)
  $('padding_note').hidden = !padding
}

function show() {
  const side = sideOf(state.kernel)
  const places = state.out ? placesAt(side, state.row, state.column, sliding()) : []
  const seen = state.out ? windowAt(state.image, side, state.row, state.column, sliding()) : []
  showMaps(places)
  showTitles()
  $('sum').textContent = productsInWords(seen, places)
  showButtons()
  $('call').value = toPython(settings())
}

// Where the window is, counted along the rows of the output

const position = () => (state.out ? state.row * state.out.columns + state.column : 0)
const lastPosition = () => (state.out ? state.out.values.length - 1 : 0)

function moveTo(wanted) {
  if (!state.out) return
  const at = Math.min(lastPosition(), Math.max(0, wanted))
  state.row = Math.floor(at / state.out.columns)
  state.column = at % state.out.columns
  show()
}

// The kernel's fields

function typeWeight(field, i) {
  const weight = Number(field.value.replace(',', '.'))
  if (field.value.trim() && Number.isFinite(weight)) {
    state.kernel[i] = weight
    $('kind').value = 'your own'
    field.removeAttribute('aria-invalid')
  } else field.setAttribute('aria-invalid', 'true')
  update()
}

function weightField(weight, i, side) {
  const field = document.createElement('input')
  Object.assign(field, { type: 'text', inputMode: 'decimal', value: Math.round(weight * 1000) / 1000 })
  field.setAttribute('aria-label', `Weight in row ${Math.floor(i / side)}, column ${i % side}`)
  field.addEventListener('input', () => typeWeight(field, i))
  return field
}

function showKernel() {
  const side = sideOf(state.kernel)
  $('side').value = side
  $('kernel').style.gridTemplateColumns = `repeat(${side}, auto)`
  $('kernel').replaceChildren(...state.kernel.map((weight, i) => weightField(weight, i, side)))
}

// Settings

const fill = (id, names) => $(id).replaceChildren(...names.map((name) => new Option(name)))
fill('picture', [...Object.keys(PICTURES), 'drawn'])
fill('kind', Object.keys(KERNELS))

$('picture').addEventListener('change', () => {
  if ($('picture').value !== 'drawn') paint($('picture').value)
})
$('size').addEventListener('change', () => {
  $('size').value = number('size')
  paint($('picture').value)
})
$('clear').addEventListener('click', () => {
  $('picture').value = 'drawn'
  paint('drawn')
})
$('kind').addEventListener('change', () => {
  const weights = KERNELS[$('kind').value]
  if (weights) {
    state.kernel = weights.slice()
    showKernel()
  }
  update()
})
$('side').addEventListener('change', () => {
  const n = Number($('side').value) ** 2
  state.kernel = Array.from({ length: n }, (_, i) => (i === Math.floor(n / 2) ? 1 : 0))
  $('kind').value = 'your own'
  showKernel()
  update()
})
for (const id of ['stride', 'padding', 'mode', 'dilation', 'relu', 'pool', 'pool_size', 'pool_stride', 'flipped'])
  $(id).addEventListener('input', update)
for (const id of ['stride', 'padding', 'dilation', 'pool_size', 'pool_stride'])
  $(id).addEventListener('change', () => {
    $(id).value = number(id)
  })
$('settings').addEventListener('submit', (event) => event.preventDefault())

// A file of the reader's own: upright, on white, its middle square, in grey

async function greyMap(file, n) {
  const options = { imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none' }
  const picture = await createImageBitmap(file, options)
  const pen = new OffscreenCanvas(n, n).getContext('2d')
  const side = Math.min(picture.width, picture.height)
  Object.assign(pen, { fillStyle: '#fff', imageSmoothingQuality: 'high' })
  pen.fillRect(0, 0, n, n)
  pen.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, n, n)
  const { data } = pen.getImageData(0, 0, n, n)
  const grey = (i) => (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255
  return squareMap(n, (row, column) => grey(row * n + column))
}

$('file').addEventListener('change', async () => {
  const file = $('file').files[0]
  if (!file) return
  try {
    state.image = await greyMap(file, number('size'))
    $('picture').value = 'drawn'
    update()
  } catch {
    $('message').textContent = `${file.name} cannot be read as an image.`
  }
})

// Drawing, by pointer and by keys

function cellAt(canvas, map, event, margin = 0) {
  const box = canvas.getBoundingClientRect()
  const n = Math.max(map.rows, map.columns) + 2 * margin
  const cell = (distance, side) => Math.floor((distance / side) * n) - margin
  return [cell(event.clientY - box.top, box.height), cell(event.clientX - box.left, box.width)]
}

const inverted = (row, column) => (state.image.values[row * state.image.columns + column] > 0.5 ? 0 : 1)

function setPixel(row, column, value) {
  if (!isIn(state.image, row, column)) return
  state.image.values[row * state.image.columns + column] = value
  $('picture').value = 'drawn'
  update()
}

let brush = null
$('in').addEventListener('pointerdown', (event) => {
  const [row, column] = cellAt($('in'), state.image, event, number('padding'))
  if (!isIn(state.image, row, column)) return
  brush = inverted(row, column)
  $('in').setPointerCapture(event.pointerId)
  state.cursor = [row, column]
  setPixel(row, column, brush)
})
$('in').addEventListener('pointermove', (event) => {
  if (brush !== null) setPixel(...cellAt($('in'), state.image, event, number('padding')), brush)
})
for (const name of ['pointerup', 'pointercancel'])
  $('in').addEventListener(name, () => {
    brush = null
  })

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }

// The cell that an arrow key leads to, within the map
function neighbour(map, [row, column], key) {
  const [down, right] = ARROWS[key]
  const within = (value, size) => Math.min(size - 1, Math.max(0, value))
  return [within(row + down, map.rows), within(column + right, map.columns)]
}

$('in').addEventListener('keydown', (event) => {
  state.cursor = state.cursor.map((value) => Math.min(value, state.image.rows - 1))
  if (ARROWS[event.key]) {
    state.cursor = neighbour(state.image, state.cursor, event.key)
    show()
  } else if (event.key === ' ') setPixel(...state.cursor, inverted(...state.cursor))
  else return
  event.preventDefault()
})
$('in').addEventListener('focus', show)
$('in').addEventListener('blur', show)

// Moving the window, by keys, by pointer, and step by step

$('out').addEventListener('keydown', (event) => {
  if (!ARROWS[event.key] || !state.out) return
  const [row, column] = neighbour(state.out, [state.row, state.column], event.key)
  moveTo(row * state.out.columns + column)
  event.preventDefault()
})

function followPointer(event) {
  if (!state.out) return
  const [row, column] = cellAt($('out'), state.out, event)
  if (isIn(state.out, row, column)) moveTo(row * state.out.columns + column)
}
$('out').addEventListener('pointerdown', followPointer)
$('out').addEventListener('pointermove', (event) => {
  if (event.buttons) followPointer(event)
})

$('first').addEventListener('click', () => moveTo(0))
$('last').addEventListener('click', () => moveTo(lastPosition()))
$('back').addEventListener('click', () => moveTo(position() - 1))
$('on').addEventListener('click', () => moveTo(position() + 1))

let timer = null
function setPlaying(playing) {
  clearInterval(timer)
  timer = playing ? setInterval(playOneStep, 400) : null
  $('play').textContent = playing ? 'Stop' : 'Play'
  $('play').setAttribute('aria-pressed', String(playing))
}
function playOneStep() {
  moveTo(position() + 1)
  if (position() === lastPosition()) setPlaying(false)
}
$('play').addEventListener('click', () => {
  if (!timer && position() === lastPosition()) moveTo(0)
  setPlaying(!timer)
})

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show)

// The settings, as the address and the call in Python tell them

function settings() {
  const fields = Object.keys(DEFAULTS).filter((name) => name !== 'image' && name !== 'kernel')
  const value = (name) => {
    if (LIMITS[name]) return number(name)
    if (name === 'flipped' || name === 'relu') return $(name).value === '1'
    return $(name).value || null
  }
  const drawn = $('picture').value === 'drawn' ? state.image : null
  return { image: drawn, kernel: state.kernel, ...Object.fromEntries(fields.map((name) => [name, value(name)])) }
}

// A frame that a notebook fills has no address of its own: there the reader copies the call
const hasAddress = location.protocol !== 'about:'
$('keep').hidden = hasAddress

let keeping = null
function keepSoon() {
  $('copied').textContent = ''
  if (!hasAddress) return
  clearTimeout(keeping)
  keeping = setTimeout(() => history.replaceState(null, '', toHash(settings())), 200)
}

async function copyCall() {
  try {
    await navigator.clipboard.writeText($('call').value)
    $('copied').textContent = 'Copied: paste it into a cell.'
  } catch {
    $('call').select()
    $('copied').textContent = 'Selected: copy it with Ctrl+C, or ⌘C.'
  }
}
$('copy').addEventListener('click', copyCall)

// The beginning: settings by the names of their fields; image and kernel as rows of numbers

const fieldValue = (value) => (value === true ? '1' : value || value === 0 ? value : '')

function takeKernel(weights) {
  const near = (known) => known?.length === weights.length && known.every((w, i) => Math.abs(w - weights[i]) < 1e-5)
  const name = Object.keys(KERNELS).find((name) => near(KERNELS[name]))
  state.kernel = (KERNELS[name] ?? weights).slice()
  $('kind').value = name ?? 'your own'
}

function takeImage(rows) {
  state.image = { rows: rows.length, columns: rows[0].length, values: rows.flat() }
  $('picture').value = 'drawn'
  if (rows.length === rows[0].length) $('size').value = rows.length
  update()
}

function begin({ image, kernel, ...fields }) {
  state.beginning = true
  clearTimeout(keeping)
  for (const [id, value] of Object.entries(fields)) $(id).value = fieldValue(value)
  if (!$('picture').value) $('picture').value = DEFAULTS.picture
  if (kernel) takeKernel(kernel.flat())
  showKernel()
  if (image) takeImage(image)
  else paint($('picture').value)
  state.beginning = false
}

const beginAsTold = () => begin(fromHash(location.hash) ?? JSON.parse($('beginning').textContent))
beginAsTold()
if (hasAddress) addEventListener('hashchange', beginAsTold)

fitFrame()
