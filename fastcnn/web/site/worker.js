// A thread of the page's own: it decodes pictures and runs the model, so that the page answers meanwhile.
import { bytesOf } from './bytes.js'
import { cellsFor, cover, meanColour, TOGETHER, windows } from './heat.js'
import { upright, webpOrientation } from './orientation.js'
import { middleSquare, reduce, reduction } from './pixels.js'
import { extend, fit, readKnown } from './teach.js'
import * as ort from './runtime/ort.wasm.bundle.min.mjs'

ort.env.logLevel = 'error'
ort.env.wasm.numThreads = 1

let about // about.json
let session // the model
let picture // the one that was classified last
let known // the model's own classes as features, from which a class is taught
let taught // what was taught

async function start(given, tell) {
  about = given.about
  const [wasm, model] = await Promise.all([given.wasm, given.model].map(part => bytesOf(part, tell)))
  ort.env.wasm.wasmBinary = wasm
  session = await ort.InferenceSession.create(model).catch(() => {
    throw new Error('it is damaged, or this browser cannot run it')
  })
  ort.env.wasm.wasmBinary = undefined // it is compiled: a telephone needs the room
}

/** uint8 images (N, H, W, 3) → probabilities (N, classes) and, of newer models, novelty (N); `features` (N, d) of those that have them */
async function see({ data, shape }) {
  const { probabilities, novelty, features } = await session.run({ image: new ort.Tensor('uint8', data, shape) })
  return { probabilities: probabilities.data, novelty: novelty?.data, features: features?.data }
}

/** The same with the classes that were taught. */
async function run(images) {
  const { probabilities, novelty, features } = await see(images)
  return taught ? extend(taught, { probabilities, novelty, features }, about.threshold) : { probabilities, novelty }
}

/** An image file → pixels as `predict` gets them: upright, on white, colours as they stand in the file. */
async function decode(blob) {
  const turned = blob.arrayBuffer && webpOrientation(new Uint8Array(await blob.arrayBuffer())) // a frame of the camera is upright
  const imageOrientation = turned ? 'none' : 'from-image'
  const bitmap = await createImageBitmap(blob, { imageOrientation, colorSpaceConversion: 'none', premultiplyAlpha: 'none' })
  const matrix = upright(turned ?? 1, bitmap.width, bitmap.height)
  const [width, height] = turned > 4 ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height]
  const by = reduction(width, height, about.size)
  const strip = Math.min(height, 64 * by) // a telephone has no room for the whole of a large picture twice
  const pen = new OffscreenCanvas(width, strip).getContext('2d', { alpha: false, willReadFrequently: true })
  pen.fillStyle = 'white'
  const parts = []
  for (let top = 0; top < height; top += strip) {
    const rows = Math.min(strip, height - top)
    pen.resetTransform()
    pen.fillRect(0, 0, width, strip)
    pen.setTransform(...matrix.slice(0, 5), matrix[5] - top)
    pen.drawImage(bitmap, 0, 0)
    parts.push(reduce(pen.getImageData(0, 0, width, rows).data, width, rows, by))
  }
  bitmap.close()
  const data = new Uint8Array(await new Blob(parts).arrayBuffer())
  return { data, width: Math.ceil(width / by), height: Math.ceil(height / by), shape: [width, height] }
}

async function pixels({ blob }) {
  const { data, width, height } = await decode(blob)
  return { data, width, height }
}

/** What the model looks at of a picture, small: a JPEG */
async function thumbnail(found, side) {
  const square = middleSquare(found, side)
  const image = new ImageData(side, side)
  for (let i = 0; i < side * side; i++) image.data.set([...square.subarray(3 * i, 3 * i + 3), 255], 4 * i)
  const canvas = new OffscreenCanvas(side, side)
  canvas.getContext('2d').putImageData(image, 0, 0)
  return canvas.convertToBlob({ type: 'image/jpeg', quality: 0.8 })
}

/** An image file, or a frame of the camera; one in passing is forgotten at once. `side`: with a small picture of it */
async function classify({ blob, passing, side }) {
  if (!passing) picture = undefined // a heat map of the picture before stops
  const found = await decode(blob)
  const { probabilities, novelty } = await run({ data: found.data, shape: [1, found.height, found.width, 3] })
  if (!passing) picture = found
  return { probabilities, novelty: novelty?.[0], shape: found.shape, thumb: side && (await thumbnail(found, side)) }
}

/** The probabilities of some squares */
async function judge(squares) {
  const n = about.size
  const data = new Uint8Array(squares.length * n * n * 3)
  squares.forEach((square, i) => { data.set(square, i * n * n * 3) })
  return (await run({ data, shape: [squares.length, n, n, 3] })).probabilities
}

/** What covering each window of the picture that was classified last does to every class; nothing where another one came meanwhile */
async function heat(_, tell) {
  const mine = picture
  const square = middleSquare(mine, about.size)
  const colour = meanColour(square)
  const began = performance.now()
  const first = await judge(Array(TOGETHER).fill(square))
  const whole = first.slice(0, first.length / TOGETHER)
  const cells = cellsFor((performance.now() - began) / TOGETHER, about.size)
  const corners = windows(cells)
  const covered = new Float32Array(corners.length * whole.length)
  for (let done = 0; done < corners.length; done += TOGETHER) {
    await new Promise(resolve => setTimeout(resolve)) // a new picture goes first
    if (mine !== picture) return null
    const some = corners.slice(done, done + TOGETHER)
    covered.set(await judge(some.map(corner => cover(square, corner, cells, colour, about.size))), done * whole.length)
    tell(done / corners.length)
  }
  return { cells, whole, covered }
}

/** The features of an image file, and a small picture of it */
async function features({ blob, side }) {
  const found = await decode(blob)
  const { features } = await see({ data: found.data, shape: [1, found.height, found.width, 3] })
  return { features, thumb: await thumbnail(found, side) }
}

/** Keep what the model's own classes look like to it; how many numbers a picture has */
async function prepare({ part }) {
  const bytes = await bytesOf(part)
  try {
    known = readKnown(bytes)
  } catch {
    throw new Error('they are damaged')
  }
  return known.rows[0].length
}

/** Learn these classes, { name, features: [Float32Array] } each; what is known of them */
function teach({ lessons }) {
  taught = lessons.length ? fit(known, lessons, about.threshold !== null) : undefined
  return taught?.report
}

const jobs = { start, run, pixels, classify, heat, features, prepare, teach }
self.onmessage = async ({ data: { id, job, ...given } }) => {
  try {
    postMessage({ id, result: await jobs[job](given, progress => postMessage({ id, progress })) })
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) })
  }
}
