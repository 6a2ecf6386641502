// The page's own script. It writes text and attributes, never HTML.
import { about, file, keepOffline, startWorker } from './files.js'
import { cameraTrouble, chosen, percent, place } from './words.js'

const $ = id => document.getElementById(id)
const worker = startWorker()
const waiting = new Map() // number of a job → who waits for it
let jobs = 0
let turn = 0 // number of the picture that is shown
let found // the answer that is shown
let stream // of the camera

worker.onmessage = ({ data: { id, result, error, progress } }) => {
  const { resolve, reject, tell } = waiting.get(id)
  if (progress !== undefined) return tell?.(progress)
  waiting.delete(id)
  error === undefined ? resolve(result) : reject(new Error(error))
}
const failed = new Promise((_, reject) => {
  worker.onerror = () => reject(new Error('its files cannot be loaded'))
})
failed.catch(() => {}) // whoever asks hears of it

/** Send the worker a job; promises its answer, or the error of a worker that could not start, even if it failed before it was asked. */
function ask(job, given = {}, tell, handed = []) {
  const answer = new Promise((resolve, reject) => {
    waiting.set(++jobs, { resolve, reject, tell })
    worker.postMessage({ id: jobs, job, ...given }, handed)
  })
  return Promise.race([failed, answer])
}

async function start() {
  let loaded = 0
  const tell = bytes => {
    loaded += bytes
    $('loading').value = loaded / about.bytes
  }
  const [wasm, model] = await Promise.all([about.wasm, about.model].map(name => file(name, tell)))
  performance.mark('loaded')
  await ask('start', { about, wasm, model }, undefined, [wasm.buffer, model.buffer])
}
function say(text, spoken = '') {
  $('status').textContent = text
  $('status').className = spoken
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

/** Show a picture and what the model says of it, whichever way it came; if several come quickly, the last one counts. */
export async function show(blob, name) {
  const mine = ++turn
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
    if (mine === turn) answer(result, name)
  } catch {
    if (mine !== turn) return
    delete $('stage').dataset.full
    say(`Your browser cannot read ${name} as a picture: try a JPEG or a PNG file.`)
  }
}

/** One class and its probability, as a bar. */
function bar(name, p) {
  const row = document.createElement('li')
  const part = kind => Object.assign(document.createElement('span'), { className: kind })
  const [label, track, share] = [part('name'), part('track'), part('share')]
  label.textContent = name
  track.append(document.createElement('i'))
  track.firstChild.style.width = `${100 * p}%`
  share.textContent = percent(p)
  row.append(label, track, share)
  return row
}

function answer({ probabilities, novelty, shape }, name) {
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a])
  const best = order[0]
  const none = about.threshold !== null && novelty > about.threshold
  const rest = order.length - 10
  found = { best, shape }
  $('headline').textContent = none ? 'None of these' : about.classes[best]
  $('why').textContent = none
    ? 'This picture is unlike those that the model has learnt from. If it had to choose:'
    : `${percent(probabilities[best])} sure`
  $('bars').replaceChildren(...order.slice(0, 10).map(i => bar(about.classes[i], probabilities[i])))
  $('more').textContent = rest > 0 ? `and ${rest} more classes, each below ${percent(probabilities[order[9]])}` : ''
  $('answer').dataset.none = none ? 'yes' : ''
  $('answer').hidden = false
  $('look').hidden = about.method !== 'crop' // the map is drawn on the middle square
  $('look').textContent = 'Where does it look?'
  const spoken = none ? 'none of these classes' : `${about.classes[best]}, ${percent(probabilities[best])}`
  say(`${name}: ${spoken}`, 'spoken') // the eye sees it below
  performance.mark('shown')
}

/** Lay the map over the square that the model looks at: red where covering costs certainty, blue where it adds some. */
function paint({ cells, map }) {
  const canvas = Object.assign($('heatmap'), { width: cells, height: cells })
  const pen = canvas.getContext('2d')
  const image = pen.createImageData(cells, cells)
  const most = Math.max(...map.map(Math.abs), 1e-6)
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

async function look() {
  const hide = !$('map').hidden
  if (found.heat) return reveal(!hide)
  if (!$('progress').hidden) return // it is being made
  const mine = found
  const name = about.classes[mine.best]
  $('progress').value = 0
  $('progress').hidden = false
  try {
    const heat = await ask('heat', { best: mine.best }, share => {
      if (mine === found) $('progress').value = share
    })
    if (!heat || mine !== found) return
    mine.heat = heat
    paint(heat)
    const colours = `Red: the model is less sure of ${name} when this spot is covered. Blue: it is surer.`
    $('meaning').textContent = `${colours} The strongest spot is ${place(heat)}.`
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

async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) return say('The browser gives a camera to https pages only: choose a file instead.')
  if (stream?.active) closeCamera()
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } })
  } catch (error) {
    return say(cameraTrouble(error.name))
  }
  $('camera').hidden = false
  $('take').disabled = true // until there is something to take
  $('video').srcObject = stream
  await $('video').play().catch(() => {}) // closed before it began
  if ($('camera').hidden) return
  $('take').disabled = false
  $('take').focus()
}
function closeCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop()
  $('camera').hidden = true
  $('open').focus()
}
function takePicture() {
  const video = $('video')
  const canvas = Object.assign(document.createElement('canvas'), { width: video.videoWidth, height: video.videoHeight })
  canvas.getContext('2d').drawImage(video, 0, 0)
  canvas.toBlob(blob => show(blob, 'the picture from the camera'))
  closeCamera()
}

function take(files) {
  const file = chosen(files)
  if (file) show(file, file.name || 'the pasted picture')
}
$('file').onchange = () => {
  take($('file').files)
  $('file').value = ''
}
document.onpaste = event => take(event.clipboardData.files)
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
  take(event.dataTransfer.files)
}

$('look').onclick = look
$('open').onclick = openCamera
$('take').onclick = takePicture
$('close').onclick = closeCamera
document.onkeydown = event => {
  if (event.key === 'Escape' && !$('camera').hidden) closeCamera()
}

async function showExample({ firstChild: image }) {
  const reply = await fetch(image.src)
  show(await reply.blob(), image.alt)
}
const examples = [...document.querySelectorAll('.examples button')]
for (const button of examples) button.onclick = () => showExample(button)
if (examples.length) showExample(examples[0]) // so that a visitor sees at once what the page does
