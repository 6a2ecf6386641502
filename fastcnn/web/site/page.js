// The page's own script. It writes text and attributes, never HTML.
import { Camera, smooth } from './camera.js'
import { about, keepOffline, part, startWorker } from './files.js'
import { mapOf } from './heat.js'
import { Lessons } from './lessons.js'
import { gather } from './many.js'
import { Table } from './table.js'
import { factor, percent, place } from './words.js'

const $ = id => document.getElementById(id)
const worker = startWorker()
const waiting = new Map() // number of a job → who waits for it
let jobs = 0
let turn = 0 // number of the picture that is shown
let found // the answer that is shown

worker.onmessage = ({ data: { id, result, error, progress } }) => {
  const asked = waiting.get(id)
  if (progress !== undefined) return asked?.tell?.(progress) // some of it may come after an error
  waiting.delete(id)
  error === undefined ? asked.resolve(result) : asked.reject(new Error(error))
}
const failed = new Promise((_, reject) => {
  worker.onerror = () => reject(new Error('its files cannot be loaded'))
})
failed.catch(() => {}) // whoever asks hears of it

/** Send the worker a job; promises its answer, or the error of a worker that could not start, even if it failed before it was asked. */
function ask(job, given = {}, tell) {
  const answer = new Promise((resolve, reject) => {
    waiting.set(++jobs, { resolve, reject, tell })
    worker.postMessage({ id: jobs, job, ...given })
  })
  return Promise.race([failed, answer])
}

async function start() {
  let loaded = 0
  const tell = bytes => {
    loaded += bytes
    $('loading').value = loaded / about.bytes
    if (loaded >= about.bytes) performance.mark('loaded')
  }
  await ask('start', { about, wasm: part(about.wasm), model: part(about.model) }, tell)
}
function say(text, spoken = '') {
  $('status').textContent = text
  $('status').className = $('answer').hidden ? '' : spoken // an empty card says nothing
}

export const ready = start()
/** What the model says of uint8 images (N, H, W, 3). */
export async function run(data, shape) {
  await ready
  return ask('run', { data, shape })
}
/** What the model says of an image file. */
export async function classify(blob) {
  await ready
  return ask('classify', { blob })
}
/** The pixels of an image file, as the model gets them. */
export async function pixels(blob) {
  await ready
  return ask('pixels', { blob })
}

say(`loading the model, ${$('status').dataset.size} …`)
ready
  .then(
    () => turn || say('The model is ready: give it a picture.'),
    error => say(`The model could not be loaded: ${error.message}. Reload the page to try again.`),
  )
  .then(() => $('loading').remove())
ready.then(keepOffline, () => {})

/** The classes of an answer: the model's own, then those that were taught. */
const classes = () => [...about.classes, ...lessons.names()]
const isNone = novelty => about.threshold !== null && novelty > about.threshold

/** Show a picture and what the model says of it, whichever way it came; if several come quickly, the last one counts. */
export async function show(blob, name) {
  const mine = ++turn
  camera.close()
  found = undefined
  for (const id of ['answer', 'heatmap', 'map', 'progress']) $(id).hidden = true
  URL.revokeObjectURL($('picture').src)
  $('picture').src = URL.createObjectURL(blob)
  $('picture').alt = name
  $('stage').dataset.full = 'yes'
  try {
    await ready
  } catch {
    return
  }
  say(`looking at ${name} …`)
  try {
    const result = await classify(blob)
    if (mine !== turn) return
    found = { ...result, blob, name }
    answer(result)
    say(`${name}: ${inWords(result)}`, 'spoken') // the eye sees it below
    performance.mark('shown')
  } catch {
    if (mine !== turn) return
    delete $('stage').dataset.full
    say(blob.size ? `${name} cannot be read as a picture: it is damaged, or of a kind that your browser does not know.` : `${name} is empty.`)
  }
}

const ordered = probabilities => [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a])

function inWords({ probabilities, novelty }) {
  const best = ordered(probabilities)[0]
  return isNone(novelty) ? 'none of these classes' : `${classes()[best]}, ${percent(probabilities[best])}`
}

/** One class and its probability, as a bar. */
function bar() {
  const row = document.createElement('li')
  const part = kind => Object.assign(document.createElement('span'), { className: kind })
  const track = part('track')
  track.append(document.createElement('i'))
  row.append(part('name'), track, part('share'))
  return row
}

/** As many bars as there are probabilities, ten at most; those that are there are drawn longer or shorter. */
function bars(order, probabilities) {
  const names = classes()
  while ($('bars').children.length > order.length) $('bars').lastChild.remove()
  order.forEach((which, i) => {
    const [label, track, share] = ($('bars').children[i] ?? $('bars').appendChild(bar())).children
    label.textContent = names[which]
    track.firstChild.style.width = `${100 * probabilities[which]}%`
    share.textContent = percent(probabilities[which])
  })
}

function answer({ probabilities, novelty }) {
  const order = ordered(probabilities)
  const none = isNone(novelty)
  const rest = order.length - 10
  $('headline').textContent = none ? 'None of these' : classes()[order[0]]
  $('why').textContent = none
    ? 'This picture is unlike those that the model has learnt from. If it had to choose:'
    : `${percent(probabilities[order[0]])} sure`
  bars(order.slice(0, 10), probabilities)
  $('more').textContent = rest > 0 ? `and ${rest} more classes, each below ${percent(probabilities[order[9]])}` : ''
  $('answer').dataset.none = none ? 'yes' : ''
  $('answer').hidden = false
  $('look').hidden = camera.on || about.method !== 'crop' // the map is drawn on the middle square
  $('look').textContent = 'Where does it look?'
}

// The map

/** Lay the map over the square that the model looks at: red where covering costs certainty, blue where it adds some; full where it reaches `most`. */
function paint({ cells, map }, most) {
  const canvas = Object.assign($('heatmap'), { width: cells, height: cells })
  const pen = canvas.getContext('2d')
  const image = pen.createImageData(cells, cells)
  map.forEach((value, i) => {
    const colour = value > 0 ? [225, 20, 30] : [30, 90, 230]
    image.data.set([...colour, (190 * Math.abs(value)) / most], i * 4)
  })
  pen.putImageData(image, 0, 0)
  const [width, height] = found.shape
  const side = Math.min(width, height)
  const [across, down] = [(100 * side) / width, (100 * side) / height]
  Object.assign(canvas.style, { left: `${50 - across / 2}%`, top: `${50 - down / 2}%`, width: `${across}%`, height: `${down}%` })
}

/** The map of the class that was chosen, from what was measured once for all of them. */
function drawMap() {
  const best = Number($('which').value)
  const name = classes()[best]
  const heat = mapOf(found.heat, best)
  const most = Math.max(...heat.map.map(Math.abs), 1e-6)
  paint(heat, most)
  $('cold').textContent = `odds × ${factor(most)}`
  $('hot').textContent = `odds ÷ ${factor(most)}`
  const colours = `Red: covering this spot lowers the odds of ${name}. Blue: it raises them. The scale ends where they change by a factor of ${factor(most)}.`
  const made = `It has ${heat.cells} × ${heat.cells} cells, as it was measured: windows of two by two cells were covered with the mean colour of the picture.`
  $('meaning').textContent = `${colours} The strongest spot is ${place(heat)}. ${made}`
}

async function look() {
  const hide = !$('map').hidden
  if (found.heat) return reveal(!hide)
  if (!$('progress').hidden) return // it is being made
  const mine = found
  $('progress').value = 0
  $('progress').hidden = false
  try {
    const heat = await ask('heat', {}, share => {
      if (mine === found) $('progress').value = share
    })
    if (!heat || mine !== found) return
    mine.heat = heat
    const names = classes()
    $('which').replaceChildren(...ordered(mine.probabilities).slice(0, 50).map(i => new Option(names[i], i)))
    drawMap()
    reveal(true)
  } catch (error) {
    say(`The map could not be made: ${error.message}`)
  } finally {
    if (mine === found) $('progress').hidden = true
  }
}
function reveal(on) {
  for (const id of ['heatmap', 'map']) $(id).hidden = !on
  $('look').textContent = on ? 'Hide the map' : 'Where does it look?'
}
$('look').onclick = look
$('which').onchange = drawMap

// The camera

let mean // of the last answers
let told // the last that was spoken

/** What is seen now, as the mean of about a second; it is spoken when it stays another for a second and a half. */
async function see(bitmap) {
  const result = await ask('classify', { blob: bitmap, passing: true }).catch(() => undefined)
  if (!camera.on || !result) return
  const now = performance.now()
  const elapsed = now - (mean?.now ?? now)
  const [probabilities, [novelty]] = [
    smooth(mean?.probabilities, result.probabilities, elapsed),
    smooth(mean && [mean.novelty], [result.novelty ?? Number.NaN], elapsed),
  ]
  mean = { now, probabilities, novelty, pace: mean?.pace ? mean.pace + 0.2 * (elapsed - mean.pace) : elapsed || undefined }
  answer(mean)
  $('rate').textContent = `Answers are the mean of about a second${mean.pace ? `, ${(1000 / mean.pace).toFixed(1)} times a second` : ''}. A kept picture is judged by itself.`
  const said = $('headline').textContent
  if (told?.said !== said) told = { said, since: now }
  if (!told.done && now - told.since > 1500) {
    told.done = true
    say(`The camera shows: ${said}`, 'spoken')
  }
}

function cameraClosed() {
  mean = told = undefined
  const inside = $('camera').contains(document.activeElement)
  $('camera').hidden = true
  for (const id of ['stage', 'open']) $(id).hidden = false
  lessons.target(undefined)
  $('answer').hidden = true
  if (found) answer(found)
  if (inside) $('open').focus()
}
const camera = new Camera($('video'), see, cameraClosed)

async function openCamera() {
  const trouble = await camera.open()
  if (trouble) return say(trouble)
  if (!camera.on) return
  for (const id of ['map', 'heatmap', 'answer']) $(id).hidden = true
  $('camera').hidden = false
  for (const id of ['stage', 'open']) $(id).hidden = true
  say('The camera is on; its pictures stay here.')
  $(lessons.current() ? 'give' : 'take').focus()
  $('turn').hidden = !(await camera.others())
}
async function turnCamera() {
  const trouble = await camera.turnAround()
  mean = undefined
  if (trouble) {
    camera.close()
    say(trouble)
  }
}
$('open').onclick = () => {
  lessons.target(undefined)
  openCamera()
}
$('take').onclick = async () => {
  const picture = await camera.still()
  camera.close()
  show(picture, 'the picture from the camera')
}
$('give').onclick = async () => lessons.add([{ file: await camera.still(), name: 'the camera' }])
$('turn').onclick = turnCamera
$('close').onclick = () => camera.close()
document.addEventListener('keydown', event => {
  if (event.key === 'Escape' && camera.on) camera.close()
})

// Many pictures

const table = new Table({
  classes,
  open: (file, name) => {
    show(file, name)
    $('stage').scrollIntoView({ block: 'nearest' })
  },
  tell: text => say(text, 'spoken'),
  look: async file => {
    try {
      const { probabilities, novelty, thumb } = await ask('classify', { blob: file, passing: true, side: 96 })
      const best = ordered(probabilities)[0]
      return { label: isNone(novelty) ? null : classes()[best], p: probabilities[best], probabilities, novelty, thumb }
    } catch {
      return { error: file.size ? 'It is damaged, or of a kind that your browser does not know' : 'The file is empty' }
    }
  },
})

/** One picture is shown; several go into the table. */
async function take(given) {
  const { pictures, left } = await gather(given)
  if (pictures.length === 1 && !left) return show(pictures[0].file, pictures[0].name)
  if (!pictures.length) return left && say(`There is no picture in it: ${left} other files were left out.`)
  try {
    await ready
  } catch {
    return
  }
  table.add(pictures, left)
  $('many').scrollIntoView({ block: 'nearest' })
}
for (const id of ['file', 'folder']) {
  $(id).onchange = async () => {
    await take([...$(id).files])
    $(id).value = ''
  }
}
$('folders').hidden = !('webkitdirectory' in $('folder')) || matchMedia('(pointer: coarse)').matches
document.onpaste = event => {
  if (event.clipboardData.files.length) take(event.clipboardData)
}
document.ondragover = event => {
  event.preventDefault()
  $('stage').dataset.over = 'yes'
}
document.ondragleave = () => {
  delete $('stage').dataset.over
}
document.ondrop = event => {
  event.preventDefault()
  delete $('stage').dataset.over
  take(event.dataTransfer)
}

// Teaching

const lessons = new Lessons({
  ask,
  about: () => about,
  loaded: () => ready,
  camera: openCamera,
  changed: () => { // a visitor sees at once what that changes
    mean = undefined
    if (found && !camera.on) show(found.blob, found.name)
    table.again()
  },
})

async function showExample({ firstChild: image }) {
  const reply = await fetch(image.src)
  show(await reply.blob(), image.alt)
}
const examples = [...document.querySelectorAll('.examples button')]
for (const button of examples) button.onclick = () => showExample(button)
if (examples.length) showExample(examples[0]) // so that a visitor sees at once what the page does
