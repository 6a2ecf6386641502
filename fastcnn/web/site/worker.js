// A thread of the page's own: it decodes pictures and runs the model, so that the page answers meanwhile.
import { cellsFor, cover, heatOf, logOdds, meanColour, TOGETHER, windows } from './heat.js'
import { upright, webpOrientation } from './orientation.js'
import { middleSquare, reduce, reduction } from './pixels.js'
import * as ort from './runtime/ort.wasm.bundle.min.mjs'

ort.env.logLevel = 'error'
ort.env.wasm.numThreads = 1

let about // about.json
let session // the model
let picture // the one that was classified last

async function start(given) {
  about = given.about
  ort.env.wasm.wasmBinary = given.wasm
  session = await ort.InferenceSession.create(given.model)
  ort.env.wasm.wasmBinary = undefined // it is compiled: a telephone needs the room
}

/** uint8 images (N, H, W, 3) → probabilities (N, classes) and, of newer models, novelty (N) */
async function run({ data, shape }) {
  const { probabilities, novelty } = await session.run({ image: new ort.Tensor('uint8', data, shape) })
  return { probabilities: probabilities.data, novelty: novelty?.data }
}

/** An image file → pixels as `predict` gets them: upright, on white, colours as they stand in the file. */
async function decode(blob) {
  const turned = webpOrientation(new Uint8Array(await blob.arrayBuffer()))
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

async function classify({ blob }) {
  picture = undefined // a heat map of the picture before stops
  const found = await decode(blob)
  const { probabilities, novelty } = await run({ data: found.data, shape: [1, found.height, found.width, 3] })
  picture = found
  return { probabilities, novelty: novelty?.[0], shape: found.shape }
}

/** How sure the model is that each of some squares is of class `best` */
async function certainty(squares, best) {
  const n = about.size
  const data = new Uint8Array(squares.length * n * n * 3)
  squares.forEach((square, i) => { data.set(square, i * n * n * 3) })
  const { probabilities } = await run({ data, shape: [squares.length, n, n, 3] })
  return logOdds(probabilities, squares.length, best)
}

/** The heat map of the picture that was classified last; nothing where another one came meanwhile */
async function heat({ best }, tell) {
  const mine = picture
  const square = middleSquare(mine, about.size)
  const colour = meanColour(square)
  const began = performance.now()
  const [whole] = await certainty(Array(TOGETHER).fill(square), best)
  const cells = cellsFor((performance.now() - began) / TOGETHER, about.size)
  const corners = windows(cells)
  const costs = []
  while (costs.length < corners.length) {
    await new Promise(resolve => setTimeout(resolve)) // a new picture goes first
    if (mine !== picture) return null
    const some = corners.slice(costs.length, costs.length + TOGETHER)
    const left = await certainty(some.map(corner => cover(square, corner, cells, colour, about.size)), best)
    costs.push(...left.map(value => whole - value))
    tell(costs.length / corners.length)
  }
  return { cells, map: heatOf(costs, cells) }
}

const jobs = { start, run, pixels, classify, heat }
self.onmessage = async ({ data: { id, job, ...given } }) => {
  try {
    postMessage({ id, result: await jobs[job](given, progress => postMessage({ id, progress })) })
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) })
  }
}
