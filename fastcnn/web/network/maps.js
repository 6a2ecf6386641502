// Each layer as a row of its maps; a map's making, number by number; where a logit comes from

import {
  explainConvolution,
  explainLinear,
  inputMaps,
  kernelOf,
  lastWeights,
  mapOf,
  poolWindow,
  run,
  shortNumber,
  silentMaps,
  windowPlaces,
} from './layers.js'
import { $, element, largest, numberGrid, paintFramed, paintMap } from './paint.js'

const MOST_MAPS = 64 // shown at first
const chosen = { layer: null, map: 0, place: 0, part: 0, logit: null }
const view = { layers: [], classes: [], signals: [], colours: false, rows: [], silent: [], always: [], onChoice: null }

export const choice = () => ({ layer: chosen.layer, map: chosen.map })

// What a layer is called

const times = ([tall, wide]) => `${tall} \u00d7 ${wide}`
const plural = (n, word) => `${n.toLocaleString('en')} ${word}${n === 1 ? '' : 's'}`
const NAMES = { conv: 'Convolution', relu: 'ReLU', norm: 'BatchNorm', average: 'Average of each map', flatten: 'Flatten', linear: 'Linear' }

function layerName(i) {
  if (!i) return 'Input'
  const { kind, pool } = view.layers[i - 1]
  return kind === 'pool' ? `${pool === 'max' ? 'Max' : 'Average'} pooling` : NAMES[kind]
}

function windowInWords(layer) {
  const { kernel, stride, padding, dilation = [1, 1] } = layer
  const parts = [`${times(kernel)} window`]
  if (Math.max(...stride) > 1) parts.push(`stride ${stride[0]}`)
  if (Math.max(...padding) > 0) parts.push(`padding ${padding[0]}`)
  if (Math.max(...dilation) > 1) parts.push(`dilation ${dilation[0]}`)
  return parts.join(', ')
}

function shapeInWords({ channels, rows, columns }) {
  if (rows * columns === 1) return plural(channels, 'number')
  return `${plural(channels, 'map')} of ${times([rows, columns])}`
}

function aboutLayer(i) {
  const layer = view.layers[i - 1]
  const shape = shapeInWords(view.signals[i])
  if (!layer) return `the picture, normalised: ${shape}`
  if (layer.kind === 'flatten') return `${shapeInWords(view.signals[i - 1])} in one row: ${shape}`
  return layer.kernel ? `${windowInWords(layer)}: ${shape}` : shape
}

function mapName(i, map) {
  if (i === view.signals.length - 1) return view.classes[map]
  if (!i && view.colours) return ['Red', 'Green', 'Blue'][map]
  return view.signals[i].rows * view.signals[i].columns === 1 ? `Number ${map}` : `Map ${map}`
}

// A sum in words: [number, what it is] each, with its sign between them
function sumInWords(terms) {
  const words = terms.map(([value, name], i) => {
    const sign = value < 0 ? '\u2212' : '+'
    return `${i || value < 0 ? `${sign} ` : ''}${shortNumber(Math.abs(value))} (${name})`
  })
  return `${words.join(' ').replace(/^\u2212 /, '\u2212')} = `
}

// The rows

const isShown = (i) => view.layers[i - 1]?.kind !== 'flatten' || i === view.signals.length - 1

function mapButton(i, map) {
  const isNumber = view.signals[i].rows * view.signals[i].columns === 1
  const button = element('button', { type: 'button', className: isNumber ? 'map number' : 'map', tabIndex: map ? -1 : 0 })
  Object.assign(button.dataset, { layer: i, map })
  button.append(element('canvas', {}))
  if (i === view.signals.length - 1) button.append(element('span', { className: 'caption' }, view.classes[map]))
  button.setAttribute('aria-expanded', 'false')
  button.addEventListener('click', () => toggleMap(i, map))
  return button
}

function buildRow(i) {
  const { channels } = view.signals[i]
  const title = element('h3', { id: `row_${i}` }, `${i ? `${i}. ` : ''}${layerName(i)}`)
  const about = element('span', { className: 'about' }, aboutLayer(i))
  const row = { key: null, maps: [], dead: element('p', { className: 'dead', hidden: true }) }
  const section = element('section', { className: 'row', 'aria-labelledby': `row_${i}` })
  const head = element('div', { className: 'head' }, title, about)
  section.append(head)
  if (!isShown(i)) return Object.assign(row, { section })
  row.key = element('span', { className: 'key' }, element('span', {}), element('canvas', {}), element('span', {}))
  head.append(row.key)
  row.strip = element('div', { className: 'strip', role: 'group', 'aria-label': `${layerName(i)}, ${shapeInWords(view.signals[i])}` })
  row.maps = Array.from({ length: Math.min(channels, MOST_MAPS) }, (_, map) => mapButton(i, map))
  row.strip.append(...row.maps)
  if (channels > MOST_MAPS) row.strip.append(allButton(i, row))
  row.detail = element('div', { className: 'detail', hidden: true })
  section.append(row.dead, row.strip, row.detail)
  return Object.assign(row, { section })
}

function allButton(i, row) {
  const { channels } = view.signals[i]
  const button = element('button', { type: 'button', className: 'all' }, `All ${channels}`)
  button.addEventListener('click', () => {
    const more = Array.from({ length: channels - MOST_MAPS }, (_, n) => mapButton(i, n + MOST_MAPS))
    row.maps.push(...more)
    button.replaceWith(...more)
    showRow(i)
    more[0].focus()
  })
  return button
}

function paintKey(key, signal, most) {
  const signed = signal.values.some((value) => value < 0)
  const shares = Array.from({ length: 65 }, (_, n) => (signed ? n / 32 - 1 : n / 64))
  paintMap(key.children[1], shares, 1, 65, 1)
  key.children[0].textContent = signed ? shortNumber(-most) : '0'
  key.children[2].textContent = shortNumber(most)
}

function showRow(i) {
  const row = view.rows[i]
  if (!row.strip) return
  const signal = view.signals[i]
  const most = largest(signal.values)
  paintKey(row.key, signal, most)
  row.maps.forEach((button, map) => {
    paintMap(button.firstChild, mapOf(signal, map), signal.rows, signal.columns, most)
    const silent = view.silent[i]?.[map] ?? false
    const always = view.always[i]?.[map] ?? false
    button.classList.toggle('silent', silent)
    button.classList.toggle('always', silent && always)
    const value = signal.rows * signal.columns === 1 ? `: ${shortNumber(signal.values[map])}` : ''
    const state = silent ? (always ? ', dead: silent for every example too' : ', silent for this picture') : ''
    button.setAttribute('aria-label', `${mapName(i, map)}${value}${state}`)
    button.title = button.getAttribute('aria-label')
  })
  showSilent(i, row)
}

function showSilent(i, row) {
  const silent = view.silent[i]
  const count = silent?.filter(Boolean).length ?? 0
  row.dead.hidden = !count
  if (!count) return
  const always = silent.filter((is, map) => is && view.always[i][map]).length
  const of = `${count} of ${silent.length} ${count === 1 ? 'is' : 'are'} silent for this picture (grey, \u2205)`
  row.dead.textContent = always ? `${of}; ${always} of them for every example, too: dead (\u2715).` : `${of}.`
}

// A map's making

function toggleMap(i, map) {
  const isOpen = chosen.layer === i && chosen.map === map
  const { rows, columns } = view.signals[i]
  const values = mapOf(view.signals[i], map)
  const place = values.indexOf(values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0))
  Object.assign(chosen, { layer: isOpen ? null : i, map, place: place < 0 ? Math.floor((rows * columns) / 2) : place })
  chosen.part = isOpen ? 0 : strongestPart(i, map)
  showDetails()
  view.onChoice()
}

// Which input map counts most at the place chosen
function strongestPart(i, map) {
  const layer = view.layers[i - 1]
  if (layer?.kind !== 'conv') return 0
  const sums = explanation(i, map).parts.map((part) => Math.abs(part.sum))
  return sums.indexOf(Math.max(...sums))
}

function explanation(i, map) {
  const { columns } = view.signals[i]
  const { place } = chosen
  return explainConvolution(view.layers[i - 1], view.signals[i - 1], map, Math.floor(place / columns), place % columns)
}

export function closeMap() {
  if (chosen.layer === null) return false
  view.rows[chosen.layer].maps[chosen.map]?.focus()
  chosen.layer = null
  showDetails()
  view.onChoice()
  return true
}

function showDetails() {
  for (const [i, row] of view.rows.entries()) {
    if (!row.strip) continue
    const isOpen = chosen.layer === i
    for (const [map, button] of row.maps.entries())
      button.setAttribute('aria-expanded', String(isOpen && chosen.map === map))
    row.detail.hidden = !isOpen
    if (!isOpen) row.detail.replaceChildren()
    else {
      if (row.detail.dataset.map !== String(chosen.map) || !row.detail.children.length) buildDetail(i, row)
      fillDetail(i, row)
    }
  }
}

function largeMap(name, help) {
  const canvas = element('canvas', { className: 'large', role: 'img', 'aria-label': help ? `${name}. ${help}` : name })
  const figure = element('figure', {}, element('figcaption', {}, name), canvas)
  if (help) figure.append(element('p', { className: 'help' }, help))
  return { canvas, figure, caption: figure.firstChild }
}

const DETAIL_HELP = 'Point at a place, or move with the arrow keys.'

function buildDetail(i, row) {
  row.detail.dataset.map = chosen.map
  const title = element('h4', {}, `${layerName(i)}, ${mapName(i, chosen.map).toLowerCase()}`)
  const close = element('button', { type: 'button', className: 'close', 'aria-label': 'Close' }, '\u2715')
  close.addEventListener('click', closeMap)
  row.detail.replaceChildren(element('div', { className: 'head' }, title, close))
  if (view.layers[i - 1]?.kind === 'linear' || i === view.signals.length - 1) {
    row.body = element('div', {})
    row.detail.append(row.body)
    return
  }
  row.into = i ? largeMap('Comes in') : null
  row.out = largeMap(i ? 'Goes out' : mapName(i, chosen.map), DETAIL_HELP)
  row.out.canvas.tabIndex = 0
  followPlaces(row.out.canvas, i)
  row.sums = element('div', { className: 'sums' })
  row.words = element('p', { className: 'words', 'aria-live': 'polite' })
  row.parts = element('div', { className: 'parts' })
  const maps = element('div', { className: 'pair' }, ...(row.into ? [row.into.figure] : []), row.out.figure)
  row.detail.append(element('div', { className: 'making' }, maps, row.sums), row.words, row.parts)
}

function followPlaces(canvas, i) {
  const go = (place) => {
    if (place === chosen.place) return
    chosen.place = place
    fillDetail(i, view.rows[i])
  }
  const point = (event) => {
    const { rows, columns } = view.signals[i]
    const box = canvas.getBoundingClientRect()
    const y = Math.min(rows - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * rows)))
    const x = Math.min(columns - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * columns)))
    go(y * columns + x)
  }
  for (const name of ['pointerdown', 'pointermove']) canvas.addEventListener(name, point)
  canvas.addEventListener('keydown', (event) => {
    const { rows, columns } = view.signals[i]
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? []
    if (down === undefined) return
    event.preventDefault()
    event.stopPropagation()
    const y = Math.min(rows - 1, Math.max(0, Math.floor(chosen.place / columns) + down))
    const x = Math.min(columns - 1, Math.max(0, (chosen.place % columns) + right))
    go(y * columns + x)
  })
}

// What the layer did for the number at the place chosen: {input, places, grids, words}
const EXPLAIN = {
  conv(i, layer, before) {
    const { parts, places, bias, result } = explanation(i, chosen.map)
    const part = parts[Math.min(chosen.part, parts.length - 1)]
    const wide = layer.kernel[1]
    const grids = [
      numberGrid('window', part.seen, wide, largest(before.values), shortNumber),
      element('span', { className: 'sign', 'aria-hidden': 'true' }, '\u00d7'),
      numberGrid('kernel', part.weights, wide, largest(kernelsOf(layer, before)), shortNumber),
      element('span', { className: 'sign', 'aria-hidden': 'true' }, '='),
      numberGrid('products', part.products, wide, largest(part.products), shortNumber),
    ]
    const terms = shortened(i - 1, parts)
    const also = parts.length > 1 ? 'With the other maps and the bias' : 'With the bias'
    const words = `The products add up to ${shortNumber(part.sum)}. ${also}: ${sumInWords([...terms, [bias, 'bias']])}`
    return { input: part.input, places, grids, words, result, parts }
  },
  relu: (_i, _layer, before) => {
    const value = mapOf(before, chosen.map)[chosen.place]
    return { input: chosen.map, places: [chosen.place], grids: [], words: `max(0, ${shortNumber(value)}) = `, result: Math.max(0, value) }
  },
  norm: (_i, layer, before) => {
    const value = mapOf(before, chosen.map)[chosen.place]
    const [scale, shift] = [layer.scale[chosen.map], layer.shift[chosen.map]]
    const words = `${shortNumber(value)} \u00b7 ${shortNumber(scale)} (scale) + ${shortNumber(shift)} (shift) = `
    return { input: chosen.map, places: [chosen.place], grids: [], words, result: value * scale + shift }
  },
  pool: (i, layer, before) => {
    const { columns } = view.signals[i]
    const places = windowPlaces(layer, before, Math.floor(chosen.place / columns), chosen.place % columns)
    const map = mapOf(before, chosen.map)
    const seen = places.map((at) => (at < 0 ? null : map[at]))
    const result = poolWindow(layer, seen.filter((value) => value !== null))
    const grids = [numberGrid('window', seen, layer.kernel[1], largest(before.values), shortNumber)]
    return { input: chosen.map, places, grids, words: `The ${layer.pool === 'max' ? 'largest' : 'average'} of these numbers is `, result }
  },
  average: (_i, _layer, before) => {
    const map = mapOf(before, chosen.map)
    const result = map.reduce((sum, value) => sum + value, 0) / map.length
    return { input: chosen.map, places: [], grids: [], words: `The average of all ${map.length} numbers of the map is `, result }
  },
}

// What the strongest parts add, and the others together
function shortened(i, parts) {
  const order = parts.toSorted((a, b) => Math.abs(b.sum) - Math.abs(a.sum))
  const [shown, rest] = [order.slice(0, 8), order.slice(8)]
  const terms = shown.map(({ input, sum }) => [sum, mapName(i, input).toLowerCase()])
  if (rest.length) terms.push([rest.reduce((sum, part) => sum + part.sum, 0), `the other ${rest.length}`])
  return terms
}

const kernelsOf = (layer, before) =>
  inputMaps(layer, before, chosen.map).flatMap((_, part) => Array.from(kernelOf(layer, before, chosen.map, part)))

function fillDetail(i, row) {
  const signal = view.signals[i]
  if (row.body) return row.body.replaceChildren(...logitStory(chosen.map, i))
  const out = mapOf(signal, chosen.map)
  chosen.place = Math.min(chosen.place, out.length - 1)
  paintFramed(row.out.canvas, out, signal.rows, signal.columns, largest(signal.values), [chosen.place])
  const at = `Row ${Math.floor(chosen.place / signal.columns)}, column ${chosen.place % signal.columns}`
  if (!i) {
    row.words.textContent = `${at}: ${shortNumber(out[chosen.place])}`
    return
  }
  const [layer, before] = [view.layers[i - 1], view.signals[i - 1]]
  const { input, places, grids, words, result, parts } = EXPLAIN[layer.kind](i, layer, before)
  paintFramed(row.into.canvas, mapOf(before, input), before.rows, before.columns, largest(before.values), places)
  row.into.caption.textContent = `Comes in: ${mapName(i - 1, input).toLowerCase()}`
  row.sums.replaceChildren(...grids)
  row.words.replaceChildren(`${at}. ${words}`, element('strong', {}, shortNumber(result)))
  if (parts) fillParts(i, row, layer, before, parts)
}

function fillParts(i, row, layer, before, parts) {
  if (parts.length === 1) return
  if (row.parts.children.length !== parts.length + 1) {
    const help = element('p', { className: 'help' }, 'Each map that comes in has a kernel of its own; choose one to see its products:')
    row.parts.replaceChildren(help, ...parts.map((_, n) => partButton(i, n)))
  }
  const [most, mostKernel] = [largest(before.values), largest(kernelsOf(layer, before))]
  parts.forEach(({ input, weights, sum }, n) => {
    const button = row.parts.children[n + 1]
    paintMap(button.children[0], mapOf(before, input), before.rows, before.columns, most)
    paintMap(button.children[1], weights, ...layer.kernel, mostKernel)
    button.children[2].textContent = shortNumber(sum)
    button.setAttribute('aria-pressed', String(n === chosen.part))
    button.setAttribute('aria-label', `${mapName(i - 1, input)} and its kernel: ${shortNumber(sum)}`)
  })
}

function partButton(i, n) {
  const parts = [element('canvas', {}), element('canvas', {}), element('span', {})]
  const button = element('button', { type: 'button', className: 'part', tabIndex: n === chosen.part ? 0 : -1 }, ...parts)
  button.addEventListener('click', () => {
    chosen.part = n
    fillDetail(i, view.rows[i])
  })
  return button
}

// Where a logit comes from

const logitStory = (output, i) => (i === view.signals.length - 1 ? lastStory(output) : linearStory(i, output))

function lastStory(output) {
  const last = lastWeights(view.layers)
  const made = view.signals[last + 1]
  const story = made.rows * made.columns > 1 ? averageStory(last, output) : linearStory(last + 1, output)
  return [element('div', { className: 'story' }, element('div', {}, ...story), softmaxTable(output))]
}

function averageStory(last, output) {
  const made = view.signals[last + 1]
  const canvas = element('canvas', { className: 'large', role: 'img', 'aria-label': `The map of ${view.classes[output]}` })
  paintMap(canvas, mapOf(made, output), made.rows, made.columns, largest(made.values))
  const logit = shortNumber(view.signals.at(-1).values[output])
  return [element('p', {}, `This class has a map of its own; its average is the logit, ${logit}.`), canvas]
}

// The maps that a linear layer sees: before they were flattened, or averaged
function mapsBefore(at, kinds) {
  while (at > 0 && kinds.includes(view.layers[at - 1].kind)) at--
  return at
}

function linearStory(i, output) {
  const layer = view.layers[i - 1]
  const flat = view.signals[mapsBefore(i - 1, ['flatten'])]
  const at = mapsBefore(i - 1, ['flatten', 'average'])
  const found =
    layer.kind === 'linear'
      ? explainLinear(layer, view.signals[i - 1], flat, output)
      : explainConvolution(layer, view.signals[i - 1], output, 0, 0)
  const total = found.parts.reduce((sum, part) => sum + part.sum, found.bias)
  const shown = found.parts.toSorted((a, b) => Math.abs(b.sum) - Math.abs(a.sum)).slice(0, 8)
  const sum = sumInWords([...shortened(at, found.parts), [found.bias, 'bias']])
  const words = element('p', { className: 'words' }, sum, element('strong', {}, shortNumber(total)))
  const size = layer.kind === 'linear' ? [flat.rows, flat.columns] : layer.kernel
  return [addedTiles(at, view.signals[at], shown, size), words, ...strongestInputs(i, at, shown, size, layer)]
}

function addedTiles(at, shape, shown, size) {
  const most = Math.max(...shown.map((part) => largest(part.products)))
  const tiles = shown.map(({ input, products, sum }) => {
    const [map, added] = [element('canvas', {}), element('canvas', {})]
    paintMap(map, mapOf(shape, input), shape.rows, shape.columns, largest(shape.values))
    paintMap(added, products, ...size, most)
    const name = `${mapName(at, input)} adds ${shortNumber(sum)}`
    const pictures = element('span', { className: 'part', role: 'img', 'aria-label': name }, map, added)
    return element('figure', {}, pictures, element('figcaption', {}, name))
  })
  const help = 'Left the map, right what each of its numbers, times its weight, adds: blue speaks for this answer, red against it.'
  return element('div', {}, element('p', { className: 'help' }, help), element('div', { className: 'tiles' }, ...tiles))
}

function strongestInputs(i, at, shown, [, wide], layer) {
  if (layer.kind !== 'linear' || shown[0].products.length === 1) return []
  const each = shown.flatMap(({ input, products }) => Array.from(products, (product, n) => ({ input, n, product })))
  const strongest = each.toSorted((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, 3)
  const place = ({ input, n, product }) => {
    const name = `${mapName(at, input).toLowerCase()}, row ${Math.floor(n / wide)}, column ${n % wide}`
    const value = view.signals[i - 1].values[input * shown[0].products.length + n]
    return `${name}: ${shortNumber(value)} \u00b7 ${shortNumber(product / value)} = ${shortNumber(product)}`
  }
  return [element('p', { className: 'help' }, `The strongest single inputs: ${strongest.map(place).join('; ')}.`)]
}

function softmaxTable(output) {
  const logits = view.signals.at(-1).values
  const most = Math.max(...logits)
  const powers = Array.from(logits, (logit) => Math.exp(logit - most))
  const total = powers.reduce((sum, power) => sum + power, 0)
  const small = (value) => (value && value < 0.001 ? value.toExponential(0).replace('-', '\u2212') : shortNumber(value))
  const rows = powers.map((power, i) => {
    const cells = [shortNumber(logits[i]), small(power), small(power / total)]
    const row = element('tr', {}, element('th', { scope: 'row' }, view.classes[i]), ...cells.map((text) => element('td', {}, text)))
    if (i === output) row.className = 'chosen'
    return row
  })
  const names = ['class', 'logit z', `e^(z \u2212 ${shortNumber(most)})`, `\u00f7 ${total.toFixed(3)} = probability`]
  const head = element('tr', {}, ...names.map((name) => element('th', { scope: 'col' }, name)))
  const caption = element('caption', {}, 'Softmax: from logits to probabilities')
  return element('table', {}, caption, element('thead', {}, head), element('tbody', {}, ...rows))
}

export function toggleLogit(output) {
  chosen.logit = chosen.logit === output ? null : output
  showLogit()
}

function showLogit() {
  view.classes.forEach((_, i) => { $(`class_${i}`).setAttribute('aria-expanded', String(chosen.logit === i)) })
  $('why').hidden = chosen.logit === null
  if (chosen.logit === null) return $('why').replaceChildren()
  const logit = shortNumber(view.signals.at(-1).values[chosen.logit])
  $('why').replaceChildren(element('h2', {}, `Why ${view.classes[chosen.logit]}? Its logit is ${logit}`), ...lastStory(chosen.logit))
}

// Keys: along a layer, from layer to layer

function moveAmongMaps(event) {
  const from = event.target.closest('.map')
  if (!from) return
  const [i, map] = [Number(from.dataset.layer), Number(from.dataset.map)]
  const { maps } = view.rows[i]
  const to = { ArrowRight: map + 1, ArrowLeft: map - 1, Home: 0, End: maps.length - 1 }[event.key]
  if (to !== undefined) focusMap(maps[to])
  else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') focusMap(beside(i, map, event.key === 'ArrowDown' ? 1 : -1))
  else return
  event.preventDefault()
}

// The map in the same place of the next layer that shows maps
function beside(i, map, step) {
  let next = i + step
  while (view.rows[next] && !view.rows[next].strip) next += step
  const maps = view.rows[next]?.maps
  return maps?.[Math.min(map, maps.length - 1)]
}

function focusMap(button) {
  if (!button) return
  for (const each of view.rows[button.dataset.layer].maps) each.tabIndex = each === button ? 0 : -1
  button.focus()
}

function moveAmongParts(event) {
  const from = event.target.closest('.parts .part')
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (!from || !step) return
  const to = step > 0 ? from.nextElementSibling : from.previousElementSibling
  if (to?.matches('.part')) {
    from.tabIndex = -1
    to.tabIndex = 0
    to.focus()
  }
  event.preventDefault()
}

// The beginning, and each new picture

// Which maps are silent for every example: dead, as far as one can tell from these
function silentForAll(layers, inputs) {
  let all = null
  for (const input of inputs) {
    const found = silentOf(layers, run(layers, input))
    all = all ? all.map((row, i) => row?.map((is, map) => is && found[i][map]) ?? null) : found
  }
  return all ?? []
}

function silentOf(layers, signals) {
  const found = [null]
  for (let i = 1; i < signals.length; i++) found.push(silentMaps(layers[i - 1], signals[i], found[i - 1]))
  return found
}

export function buildMaps({ layers, classes, colours, inputs, signals, layer, map, onChoice }) {
  Object.assign(view, { layers, classes, colours, signals, onChoice, always: silentForAll(layers, inputs) })
  view.rows = signals.map((_, i) => buildRow(i))
  $('rows').replaceChildren(...view.rows.map((row) => row.section))
  $('rows').addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && closeMap()) return event.preventDefault()
    moveAmongMaps(event)
    moveAmongParts(event)
  })
  $('inside').hidden = false
  showMaps(signals)
  if (view.rows[layer]?.maps[map]) toggleMap(layer, map)
}

export function showMaps(signals) {
  view.signals = signals
  view.silent = silentOf(view.layers, signals)
  signals.forEach((_, i) => { showRow(i) })
  showDetails()
  showLogit()
}
