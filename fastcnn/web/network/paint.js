// The page's elements, and maps in colours: blue for plus, red for minus, white for zero, as matplotlib's RdBu has it

export const $ = (id) => document.getElementById(id)

export function element(kind, properties = {}, ...children) {
  const made = document.createElement(kind)
  for (const [name, value] of Object.entries(properties))
    if (name.includes('-') || name === 'role' || name === 'for') made.setAttribute(name, value)
    else made[name] = value
  made.append(...children)
  return made
}

const PLUS = [[255, 255, 255], [209, 229, 240], [146, 197, 222], [67, 147, 195], [33, 102, 172], [5, 48, 97]]
const MINUS = [[255, 255, 255], [253, 219, 199], [244, 165, 130], [214, 96, 77], [178, 24, 43], [103, 0, 31]]

// The colour of a number from -1 to 1
export function colourOf(share) {
  const palette = share < 0 ? MINUS : PLUS
  const at = Math.min(1, Math.abs(share)) * (palette.length - 1)
  const low = Math.min(palette.length - 2, Math.floor(at))
  return palette[low].map((from, i) => Math.round(from + (palette[low + 1][i] - from) * (at - low)))
}

// The same for 1,025 numbers, to look them up
const STEPS = 512
const TABLE = Array.from({ length: 2 * STEPS + 1 }, (_, i) => colourOf(i / STEPS - 1))

// Black or white, whichever is easier to read on a colour: both reach 4.5 : 1 where they meet
function inkOn(colour) {
  const [red, green, blue] = colour.map((value) => ((value / 255 + 0.055) / 1.055) ** 2.4)
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? '#000' : '#fff'
}

export const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9)

// A map on a canvas, a pixel of the canvas for each number
export function paintMap(canvas, values, rows, columns, most) {
  if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows })
  const bytes = new Uint8ClampedArray(4 * values.length).fill(255)
  for (let i = 0; i < values.length; i++) {
    const colour = TABLE[Math.round((values[i] / most) * STEPS) + STEPS]
    bytes[4 * i] = colour[0]
    bytes[4 * i + 1] = colour[1]
    bytes[4 * i + 2] = colour[2]
  }
  canvas.getContext('2d').putImageData(new ImageData(bytes, columns, rows), 0, 0)
}

// The same, large, with a frame around some places
export function paintFramed(canvas, values, rows, columns, most, places) {
  const small = new OffscreenCanvas(columns, rows)
  paintMap(small, values, rows, columns, most)
  const scale = Math.max(1, Math.floor(240 / Math.max(rows, columns)))
  Object.assign(canvas, { width: columns * scale, height: rows * scale })
  const pen = canvas.getContext('2d')
  pen.imageSmoothingEnabled = false
  pen.drawImage(small, 0, 0, canvas.width, canvas.height)
  const inside = places.filter((at) => at >= 0)
  if (!inside.length) return
  const [ys, xs] = [inside.map((at) => Math.floor(at / columns)), inside.map((at) => at % columns)]
  const [top, left] = [Math.min(...ys), Math.min(...xs)]
  const box = [left, top, Math.max(...xs) - left + 1, Math.max(...ys) - top + 1].map((value) => value * scale)
  for (const [colour, width] of [['#000', 5], ['#ffb300', 3]]) {
    Object.assign(pen, { strokeStyle: colour, lineWidth: width })
    pen.strokeRect(...box)
  }
}

// Numbers in their colours, `wide` in a row; null is padding
export function numberGrid(name, values, wide, most, write) {
  const cells = values.map((value) => {
    const cell = element('span', { className: 'cell' }, value === null ? '\u00b7' : write(value))
    const colour = colourOf((value ?? 0) / most)
    cell.style.background = `rgb(${colour})`
    cell.style.color = inkOn(colour)
    return cell
  })
  const spoken = values.map((value) => (value === null ? 'padding' : write(value))).join(', ')
  const grid = element('div', { className: 'numbers', role: 'img', 'aria-label': `${name}: ${spoken}` }, ...cells)
  grid.style.setProperty('--wide', wide)
  return element('figure', {}, element('figcaption', {}, name), grid)
}
