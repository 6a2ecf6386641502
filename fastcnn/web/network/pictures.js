// Pictures, which need no page either: {channels, rows, columns, values}, values from 0 to 1

import { areaOf, mapOf, signalOf } from './layers.js'

// From the bytes of a canvas (red, green, blue, opacity), its first `channels` colours
export function fromBytes(bytes, rows, columns, channels) {
  const picture = signalOf(channels, rows, columns)
  const area = areaOf(picture)
  for (let channel = 0; channel < channels; channel++)
    for (let i = 0; i < area; i++) picture.values[channel * area + i] = bytes[4 * i + channel] / 255
  return picture
}

// The same way back; a grey picture has three equal colours
export function toBytes(picture) {
  const area = areaOf(picture)
  const bytes = new Uint8ClampedArray(4 * area).fill(255)
  for (let i = 0; i < area; i++)
    for (let colour = 0; colour < 3; colour++) {
      const channel = picture.channels === 1 ? 0 : colour
      bytes[4 * i + colour] = 255 * picture.values[channel * area + i]
    }
  return bytes
}

// What lies around a picture: the median of its border, channel by channel
export function borderColour(picture) {
  const { rows, columns } = picture
  return Array.from({ length: picture.channels }, (_, channel) => {
    const map = mapOf(picture, channel)
    const border = []
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++)
        if (!y || !x || y === rows - 1 || x === columns - 1) border.push(map[y * columns + x])
    return border.sort((a, b) => a - b)[border.length >> 1]
  })
}

// The value between four pixels; beyond the picture lies `around`
function between(map, rows, columns, y, x, around) {
  const [top, left] = [Math.floor(y), Math.floor(x)]
  const [down, right] = [y - top, x - left]
  const at = (row, column) =>
    row >= 0 && column >= 0 && row < rows && column < columns ? map[row * columns + column] : around
  if (!down && !right) return at(top, left)
  const above = (1 - right) * at(top, left) + right * at(top, left + 1)
  return (1 - down) * above + down * ((1 - right) * at(top + 1, left) + right * at(top + 1, left + 1))
}

// A picture of other sides, whose place (y, x) comes from where `source` says; `fine` looks a pixel and direction
function resampled(picture, rows, columns, source, around, fine = 1) {
  const out = signalOf(picture.channels, rows, columns)
  const maps = Array.from({ length: picture.channels }, (_, channel) => mapOf(picture, channel))
  const area = rows * columns
  for (let place = 0; place < area; place++)
    for (let look = 0; look < fine ** 2; look++) {
      const up = (Math.floor(look / fine) + 0.5) / fine - 0.5
      const left = ((look % fine) + 0.5) / fine - 0.5
      const [y, x] = source(Math.floor(place / columns) + up, (place % columns) + left)
      for (let channel = 0; channel < maps.length; channel++)
        out.values[channel * area + place] +=
          between(maps[channel], picture.rows, picture.columns, y, x, around[channel]) / fine ** 2
    }
  return out
}

// Shifted by whole pixels, turned clockwise by degrees, larger or smaller about its middle
export function moved(picture, { right = 0, down = 0, turn = 0, size = 1 }) {
  if (!right && !down && !turn && size === 1) return picture
  const { rows, columns } = picture
  const [middleY, middleX] = [(rows - 1) / 2, (columns - 1) / 2]
  const [cosine, sine] = [Math.cos((turn * Math.PI) / 180) / size, Math.sin((turn * Math.PI) / 180) / size]
  const source = (y, x) => {
    const [dy, dx] = [y - middleY - down, x - middleX - right]
    return [middleY + cosine * dy - sine * dx, middleX + sine * dy + cosine * dx]
  }
  return resampled(picture, rows, columns, source, borderColour(picture), size < 1 ? 3 : 1)
}

// With a square of one colour over it, its middle at (row, column)
export function covered(picture, { side, row, column }, colour) {
  if (!side) return picture
  const out = { ...picture, values: picture.values.slice() }
  const [top, left] = [Math.round(row - side / 2), Math.round(column - side / 2)]
  for (let channel = 0; channel < out.channels; channel++) {
    const map = mapOf(out, channel)
    for (let y = Math.max(0, top); y < Math.min(out.rows, top + side); y++)
      for (let x = Math.max(0, left); x < Math.min(out.columns, left + side); x++)
        map[y * out.columns + x] = colour[channel]
  }
  return out
}

// A drawing at the size of the network's pictures: the average of each small square, whose side is a whole number
export function shrunk(picture, rows, columns) {
  const out = signalOf(picture.channels, rows, columns)
  const [tall, wide] = [picture.rows / rows, picture.columns / columns]
  picture.values.forEach((value, i) => {
    const [line, column] = [Math.floor(i / picture.columns), i % picture.columns]
    out.values[Math.floor(line / tall) * columns + Math.floor(column / wide)] += value / (tall * wide)
  })
  return out
}

// Where the ink of a grey picture is: its box, and its centre of mass; null without ink
export function inkOf(picture) {
  const box = { top: picture.rows, left: picture.columns, bottom: -1, right: -1 }
  let [mass, y, x] = [0, 0, 0]
  mapOf(picture, 0).forEach((value, i) => {
    if (value < 0.05) return
    const [row, column] = [Math.floor(i / picture.columns), i % picture.columns]
    box.top = Math.min(box.top, row)
    box.bottom = Math.max(box.bottom, row)
    box.left = Math.min(box.left, column)
    box.right = Math.max(box.right, column)
    mass += value
    y += value * row
    x += value * column
  })
  return mass ? { ...box, y: y / mass, x: x / mass } : null
}

// As MNIST was made: the ink fills a box of 20 of the 28 pixels, its centre of mass lies in the middle
export function centred(picture, rows, columns) {
  const ink = inkOf(picture)
  if (!ink) return shrunk(picture, rows, columns)
  const longer = Math.max(ink.bottom - ink.top, ink.right - ink.left) + 1
  const step = longer / ((Math.min(rows, columns) * 20) / 28)
  const source = (y, x) => [ink.y + (y - (rows - 1) / 2) * step, ink.x + (x - (columns - 1) / 2) * step]
  return resampled(picture, rows, columns, source, [0], 4)
}

// The numbers that the network takes: each colour minus its mean, divided by its standard deviation
export function normalised(picture, mean, std) {
  const area = areaOf(picture)
  const values = picture.values.map((value, i) => {
    const channel = Math.floor(i / area)
    return (value - mean[channel]) / std[channel]
  })
  return { ...picture, values }
}
