// The cleaner's page. It knows no rules: it draws the `view` that Python sends, keeps a cursor, and sends actions back.
// It is one module on its own, because anywidget carries it to the browser as one text.

// Nodes, never HTML: file names and titles come from the web, and only `make` writes into the page

export function make(tag, attributes = {}, ...inside) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (value != null && value !== false) node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...inside.filter((part) => part != null))
  return node
}

const span = (kind, ...inside) => make('span', { class: kind }, ...inside)

function button(text, title, onclick, kind) {
  const label = text.length === 1 ? title : null
  return make('button', { type: 'button', title, 'aria-label': label, onclick, class: kind }, text)
}

// What a tile says

export const percent = (share) => `${Math.round(share * 100)}%`

export function fate(row) {
  if (row.to == null) return ''
  if (row.to === '') return 'set aside'
  if (!row.aside) return `→ ${row.to}`
  return row.to === row.label ? 'call back' : `call back as ${row.to}`
}

export function fateKind(row) {
  if (row.to == null) return ''
  if (row.to === '') return 'aside'
  return row.aside ? 'back' : 'move'
}

export function opinion(row) {
  return row.predicted == null ? '' : `${row.predicted || 'none of them'} ${percent(row.probability)}`
}

export const pairKey = (row) => `${row.file}\n${row.beside ?? row.words}`

export function sentence(row, pair) {
  const parts = [row.label, row.name, row.title, ...row.notes]
  if (row.aside) parts.push(`set aside as ${row.aside}`)
  if (opinion(row)) parts.push(`the model says ${opinion(row)}, loss ${row.loss}`)
  if (fate(row)) parts.push(`marked: ${fate(row)}`)
  if (row.beside) parts.push(`beside it: ${[row.beside, pair?.other].filter(Boolean).join(', ')}`)
  return parts.filter(Boolean).join(', ')
}

// A tile

function picture(source) {
  if (source === undefined) return span('waiting')
  return source ? make('img', { src: source, alt: '', draggable: 'false' }) : span('crossed', 'cannot be shown')
}

function predictionLine(row) {
  if (!opinion(row)) return []
  const kind = row.predicted === row.label ? 'prediction' : 'prediction wrong'
  const loss = make('i', { class: 'loss', title: 'loss' }, row.loss.toFixed(2))
  return [span(kind, make('b', {}, row.predicted || 'none'), span(null, percent(row.probability)), loss)]
}

function labelLine(row) {
  const notes = [row.aside, ...row.notes].filter(Boolean)
  return span('where', make('b', {}, row.label), ...notes.map((note) => make('i', {}, note)))
}

export function cornerSign(row) {
  // Set aside, call back what is set aside, or take the mark away
  if (row.to != null) return '↶'
  return row.aside ? '+' : '×'
}

function otherSide(row, pair) {
  // What a suspect looks like, or the original of a copy
  if (!row.beside) return []
  const frame = span('frame', picture(pair?.picture))
  return [span('side other', frame, span('where', make('i', {}, row.beside)))]
}

function paintTile(ui, tile, row) {
  const pair = ui.pairs.get(pairKey(row))
  tile.setAttribute('aria-label', sentence(row, pair))
  tile.classList.toggle('pair', Boolean(row.beside))
  tile.title = [row.title, row.file].filter(Boolean).join('\n')
  tile.dataset.fate = fateKind(row)
  const band = fate(row) ? span('fate', fate(row)) : null
  const corner = make('span', { class: 'corner', 'aria-hidden': 'true' }, cornerSign(row))
  const frame = span('frame', picture(ui.pictures.get(row.file)), band, corner)
  const isFaded = row.aside || row.to === ''
  const own = span(isFaded ? 'side faded' : 'side', frame, labelLine(row), ...predictionLine(row))
  tile.replaceChildren(own, ...otherSide(row, pair))
}

function paintTiles(ui) {
  for (const [i, row] of ui.view.rows.entries()) paintTile(ui, ui.tiles[i], row)
}

// The grid. If only marks have changed, the tiles stay and are painted again, so that the focus does not jump

function drawView(ui) {
  ui.view = ui.model.get('view')
  const { rows, label, problem, order, page } = ui.view
  const files = JSON.stringify(rows.map((row) => [row.file, row.group, row.heading]))
  const chosen = JSON.stringify([label, problem, order])
  if (chosen !== ui.chosen) ui.cursor = 0
  if (files !== ui.files) layOutTiles(ui)
  if (ui.turning && page !== ui.from) ui.turning = ''
  Object.assign(ui, { files, chosen })
  paintTiles(ui)
  drawBars(ui)
  requestPictures(ui)
  requestPairs(ui)
  runQueuedKeys(ui)
}

export function newCursor(turning, cursor, count) {
  if (turning === 'back') return Math.max(0, count - 1)
  return turning ? 0 : Math.max(0, Math.min(cursor, count - 1))
}

function makeTile(ui, i) {
  const act = { onclick: (event) => clickTile(ui, i, event), ondblclick: () => enlarge(ui) }
  return make('div', { role: 'option', class: 'tile', ...act })
}

export function groupTiles(rows) {
  // Lists of neighbours that belong together; whoever belongs to no group is alone
  const groups = []
  for (const [i, row] of rows.entries()) {
    if (row.group && i && rows[i - 1].group === row.group) groups.at(-1).push(i)
    else groups.push([i])
  }
  return groups
}

function layOutTiles(ui) {
  const { rows } = ui.view
  const focused = Boolean(ui.turning) || ui.grid.contains(document.activeElement)
  ui.cursor = newCursor(ui.turning, ui.cursor, rows.length)
  ui.tiles = rows.map((_, i) => makeTile(ui, i))
  const boxes = groupTiles(rows).map((group) => {
    if (!rows[group[0]].group) return ui.tiles[group[0]]
    return makeGroup(group.map((i) => rows[i]), group.map((i) => ui.tiles[i]))
  })
  ui.grid.classList.toggle('grouped', rows.some((row) => row.group))
  ui.grid.classList.toggle('pairs', rows.every((row) => row.beside))
  ui.grid.replaceChildren(...boxes)
  drawEmpty(ui)
  moveCursor(ui, ui.cursor, false, focused)
  if (focused && !rows.length) ui.empty.focus() // so that undo still hears its key
}

function makeGroup(rows, tiles) {
  // The images of one picture in a frame, or the images with one kind of mark under a heading
  const { heading } = rows[0]
  const title = heading ? span('heading', heading) : null
  const kind = heading ? (rows.every((row) => row.beside) ? 'section pairs' : 'section') : 'group'
  return make('div', { role: 'group', class: kind, 'aria-label': heading || 'one picture' }, title, ...tiles)
}

export function emptyText({ problem, label, classes, name }) {
  if (problem.startsWith('marked')) return 'Nothing is marked here.'
  if (problem || label) return 'No image here is of this kind.'
  if (classes.length) return 'No image is left in these classes.'
  return `No image yet: put a folder of images for each class into ${name}.`
}

function drawEmpty(ui) {
  const { rows, problem, label } = ui.view
  const all = button('show all images', 'of every class', () => ui.ask('show', { problem: '', label: '' }))
  ui.empty.replaceChildren(span(null, emptyText(ui.view)), ...(problem || label ? [all] : []))
  ui.empty.hidden = rows.length > 0
  ui.grid.hidden = !rows.length
}

// The cursor, and what is selected: from the anchor, where shift was pressed, to the cursor

export const selection = (ui) => [Math.min(ui.anchor, ui.cursor), Math.max(ui.anchor, ui.cursor)]

export function selectedFiles(ui) {
  const [low, high] = selection(ui)
  return ui.view.rows.slice(low, high + 1).map((row) => row.file)
}

function moveCursor(ui, to, extend, focus = true) {
  ui.cursor = to
  if (!extend) ui.anchor = to
  const [low, high] = selection(ui)
  for (const [i, tile] of ui.tiles.entries()) {
    tile.tabIndex = i === to ? 0 : -1
    tile.setAttribute('aria-selected', low <= i && i <= high)
  }
  if (focus) ui.tiles[to]?.focus()
  if (focus && !ui.large.hidden) showLarge(ui)
}

function moveBy(ui, step, extend) {
  const to = ui.cursor + step
  if (to < 0 && ui.view.page > 0) turnPage(ui, -1, 'back')
  else if (to >= ui.tiles.length && ui.view.page < ui.view.pages - 1) turnPage(ui, 1)
  else if (ui.tiles[to]) moveCursor(ui, to, extend)
}

function turnPage(ui, step, how = 'on') {
  const page = ui.view.page + step
  if (page < 0 || page >= ui.view.pages) return
  Object.assign(ui, { turning: how, from: ui.view.page })
  setTimeout(() => {
    ui.turning = '' // should no answer come
    runQueuedKeys(ui)
  }, 2000)
  ui.ask('show', { page })
}

export function nearestInLine(boxes, cursor, direction) {
  // The nearest tile of the line above (-1) or below (1); undefined: there is none
  const here = boxes[cursor]
  const below = (box) => (box.top - here.top) * direction
  const distance = (box) => below(box) * 10 + Math.abs(box.left - here.left)
  const there = [...boxes.keys()].filter((i) => below(boxes[i]) > here.height / 2)
  return there.sort((a, b) => distance(boxes[a]) - distance(boxes[b]))[0]
}

function moveLine(ui, direction, extend) {
  const boxes = ui.tiles.map((tile) => tile.getBoundingClientRect())
  const to = nearestInLine(boxes, ui.cursor, direction)
  if (to !== undefined) moveCursor(ui, to, extend)
}

function selectPage(ui) {
  ui.anchor = 0
  moveCursor(ui, ui.tiles.length - 1, true)
}

// What can be done

export const isMarkedView = (view) => view.problem.startsWith('marked')

function review(ui, kind = 'marked') {
  // See what is marked, all of it or one kind; again: back to what was shown before
  const { label, problem, page } = ui.view
  if (problem === kind) return ui.ask('show', ui.before ?? { label: '', problem: '' })
  if (!isMarkedView(ui.view)) ui.before = { label, problem, page }
  ui.ask('show', { label: '', problem: kind })
}

function reviewAll(ui) {
  // Also where nothing is marked here: the answer to the last mark may be on its way
  review(ui, isMarkedView(ui.view) ? ui.view.problem : 'marked')
}

function askAboutSelection(ui, action, details = {}) {
  if (ui.tiles.length) ui.ask(action, { files: selectedFiles(ui), ...details })
}

const toggle = (ui) => askAboutSelection(ui, 'toggle')
const keepBest = (ui) => askAboutSelection(ui, 'keep_best')
const unmark = (ui) => askAboutSelection(ui, 'mark', { to: null })
const undo = (ui) => ui.ask('undo')
const redo = (ui) => ui.ask('redo')

function relabel(ui, to) {
  if (to) askAboutSelection(ui, 'mark', { to })
}

function showLarge(ui) {
  if (ui.tiles.length) ui.ask('enlarge', { file: ui.view.rows[ui.cursor].file })
}

function enlarge(ui) {
  if (ui.large.hidden) showLarge(ui)
  else ui.large.hidden = true
}

function leave(ui) {
  ui.large.hidden = true
  moveCursor(ui, ui.cursor)
}

// Keys. One that is pressed here stays here: in JupyterLab an x would cut the cell

const KEYS = {
  ArrowLeft: (ui, event) => moveBy(ui, -1, event.shiftKey),
  ArrowRight: (ui, event) => moveBy(ui, 1, event.shiftKey),
  ArrowUp: (ui, event) => moveLine(ui, -1, event.shiftKey),
  ArrowDown: (ui, event) => moveLine(ui, 1, event.shiftKey),
  Home: (ui, event) => moveCursor(ui, 0, event.shiftKey),
  End: (ui, event) => moveCursor(ui, ui.tiles.length - 1, event.shiftKey),
  PageUp: (ui) => turnPage(ui, -1),
  PageDown: (ui) => turnPage(ui, 1),
  ' ': toggle,
  x: toggle,
  Delete: toggle,
  Backspace: toggle,
  0: unmark,
  b: keepBest,
  u: undo,
  y: redo,
  r: reviewAll,
  a: selectPage,
  Enter: enlarge,
  Escape: leave,
}

const CTRL_KEYS = {
  z: (ui, event) => (event.shiftKey ? redo(ui) : undo(ui)),
  y: redo,
  a: selectPage,
}

const isField = (node) => /INPUT|SELECT/.test(node.tagName)

export function keyAction(ui, event) {
  // What a key means here; undefined: it is not ours
  if (isField(event.target) || event.altKey || !ui.box.contains(event.target)) return undefined
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key
  if (event.ctrlKey || event.metaKey) return CTRL_KEYS[key]
  if (/^(Page.*|[ruy])$/.test(key)) return KEYS[key]
  if (!ui.tiles.length) return undefined
  const label = /^[1-9]$/.test(key) && ui.view.classes[Number(key) - 1]
  if (label) return () => relabel(ui, label[0])
  return ui.grid.contains(event.target) && !(key === 'Enter' && event.shiftKey) ? KEYS[key] : undefined
}

export function isOurs(ui, event) {
  // What JupyterLab must not hear: our keys, all letters, and what is typed into our fields
  const plain = !event.ctrlKey && !event.metaKey
  const typed = plain && (event.key.length === 1 || isField(event.target))
  return ui.box.contains(event.target) && (typed || Boolean(keyAction(ui, event)))
}

function handleKey(ui, event) {
  const act = keyAction(ui, event)
  if (isOurs(ui, event)) event.stopPropagation()
  if (!act) return
  event.preventDefault()
  ui.queue.push(() => act(ui, event))
  runQueuedKeys(ui)
}

export function runQueuedKeys(ui) {
  // Keys that come while a page is being turned are meant for the new page
  while (!ui.turning && ui.queue.length) ui.queue.shift()()
}

function claimKey(ui, event) {
  // Before the notebook hears it; some front ends ask for the attribute, others listen on the way down
  const ours = isOurs(ui, event)
  ui.box.toggleAttribute('data-lm-suppress-shortcuts', ours)
  if (!ours || isField(event.target)) return
  event.stopImmediatePropagation()
  handleKey(ui, event)
}

function clickTile(ui, i, event) {
  moveCursor(ui, i, event.shiftKey)
  if (event.target.className !== 'corner') return
  const { file, to } = ui.view.rows[i]
  if (to == null) ui.ask('toggle', { files: [file] })
  else ui.ask('mark', { files: [file], to: null })
}

// Above and below the grid

function menu(ui, name, text) {
  const select = make('select', { onchange: () => ui.ask('show', { [name]: select.value }) })
  ui[name] = select
  return make('label', { class: 'choice' }, span(null, text), select)
}

function fillMenu(select, options, value) {
  const wanted = JSON.stringify(options)
  const nodes = () => options.map(([key, text]) => make('option', { value: key }, text))
  if (select.dataset.options !== wanted) select.replaceChildren(...nodes())
  select.dataset.options = wanted
  select.value = value
  select.parentNode.hidden = !options.length
}

const gap = () => span('gap')
const bar = (...inside) => make('div', { class: 'bar' }, ...inside)

function topBar(ui) {
  ui.pageUp = button('‹', 'page up', () => turnPage(ui, -1))
  ui.pager = span('pager')
  ui.pageDown = button('›', 'page down', () => turnPage(ui, 1))
  const menus = [menu(ui, 'label', 'class'), menu(ui, 'problem', 'show'), menu(ui, 'order', 'order by')]
  return bar(...menus, gap(), span('pages', ui.pageUp, ui.pager, ui.pageDown))
}

function labelField(ui) {
  const onkeydown = (event) => {
    if (event.key === 'Enter') relabel(ui, event.target.value.trim())
  }
  const hints = { placeholder: 'class …', 'aria-label': 'class to relabel to' }
  return make('input', { list: ui.id, ...hints, onkeydown })
}

function markBar(ui) {
  const aside = button('× set aside', 'space, x or delete; again: take the mark away', () => toggle(ui))
  ui.best = button('keep the best', 'b: of the selected groups only the first stays', () => keepBest(ui))
  ui.chips = make('span', { class: 'chips', role: 'group', 'aria-label': 'relabel to' })
  ui.known = make('datalist', { id: ui.id })
  ui.undo = button('↶', 'undo: u, or ctrl+z', () => undo(ui))
  ui.redo = button('↷', 'redo: y, or ctrl+y', () => redo(ui))
  const none = button('no mark', '0: take the mark away', () => unmark(ui))
  const large = button('large', 'enter: the image large, and what it looks like beside it', () => enlarge(ui))
  ui.field = labelField(ui)
  return bar(aside, none, ui.best, large, ui.undo, ui.redo, ui.chips, ui.known)
}

function planBar(ui) {
  // What an apply would do, by kind; what was done last; and apply itself
  ui.plan = make('span', { class: 'plan', role: 'group', 'aria-label': 'what apply would do' })
  ui.status = make('span', { role: 'status', class: 'status' })
  ui.unmarkAll = button('take these marks away', 'of all that is shown, on every page', () => ui.ask('unmark'))
  ui.undoApply = button('undo apply', 'move the images of the last apply back', () => ui.ask('undo_apply'))
  ui.apply = button('apply', 'move the marked images', () => ui.ask('apply'), 'main')
  return bar(ui.plan, ui.unmarkAll, ui.status, ui.undoApply, ui.apply)
}

function planPart(ui, [key, words, n]) {
  const text = `${words} ${n}`
  if (!key) return span('gone', text)
  const isShown = ui.view.problem === key
  const part = button(text, isShown ? 'back to the other images' : 'show them (all: r)', () => review(ui, key))
  part.setAttribute('aria-pressed', isShown)
  return part
}

export function planParts(plan) {
  // Where all marks are of one kind, that kind says enough
  return plan.length === 2 && plan[1][0] ? plan.slice(1) : plan
}

function stage(ui) {
  const list = { role: 'listbox', 'aria-multiselectable': 'true', 'aria-label': 'images', class: 'grid' }
  const hide = () => {
    ui.large.hidden = true
  }
  ui.grid = make('div', list)
  ui.empty = make('div', { class: 'empty', tabindex: '-1', hidden: true })
  ui.large = make('figure', { class: 'large', hidden: true, 'aria-live': 'polite', onclick: hide })
  ui.stage = make('div', { class: 'stage' }, ui.grid, ui.empty, ui.large)
  return ui.stage
}

function findButton(ui) {
  const title = 'look for broken, doubled and odd images: reads every file'
  return button('find problems', title, () => {
    ui.ask('find_problems')
    clearTimeout(ui.patience)
    say(ui, 'reading every image …')
  })
}

export const isRefusal = (text) => text.startsWith('not done')

function say(ui, text) {
  ui.status.textContent = text
  ui.status.classList.toggle('error', isRefusal(text))
}

const HELP = [
  ['← → ↑ ↓', 'move'],
  ['⇧', 'and move: select'],
  ['a', 'all of the page'],
  ['space x', 'set aside'],
  ['b', 'keep the best of a group'],
  ['1 … 9', 'relabel'],
  ['0', 'no mark'],
  ['r', 'review the marks'],
  ['u', 'undo'],
  ['y', 'redo'],
  ['enter', 'large'],
  ['page↑ page↓', 'turn'],
]

function help() {
  const line = ([keys, what]) => span(null, ...keys.split(' ').map((key) => make('kbd', {}, key)), what)
  const keys = make('div', { class: 'keys' }, ...HELP.map(line))
  return make('details', { class: 'help' }, make('summary', {}, 'keys'), keys)
}

function drawMenus(ui) {
  const { classes, problems, orders, label, problem, order } = ui.view
  const all = classes.reduce((sum, [, n]) => sum + n, 0)
  fillMenu(ui.label, [['', `all (${all})`], ...classes.map(([name, n]) => [name, `${name} (${n})`])], label)
  fillMenu(ui.problem, problems.map(([key, text, n]) => [key, `${text} (${n})`]), problem)
  fillMenu(ui.order, orders, order)
}

function chip(ui, name, key) {
  const inside = span(null, make('kbd', {}, key), name)
  return button(inside, `relabel to ${name}: ${key}`, () => relabel(ui, name))
}

function drawBars(ui) {
  const { view } = ui
  drawMenus(ui)
  ui.known.replaceChildren(...view.classes.map(([name]) => make('option', { value: name })))
  drawChips(ui)
  ui.pager.textContent = `page ${view.page + 1} of ${view.pages}`
  ui.pageUp.disabled = !view.page
  ui.pageDown.disabled = view.page >= view.pages - 1
  ui.undo.disabled = !view.undo
  ui.redo.disabled = !view.redo
  ui.best.hidden = isMarkedView(view) || !view.rows.some((row) => row.group)
  ui.undoApply.hidden = !view.applied
  ui.apply.disabled = !view.marked
  ui.apply.textContent = applyText(view.marked)
  drawPlan(ui)
  say(ui, ui.model.get('message'))
}

function drawChips(ui) {
  // The field stays, and so does what is being typed into it
  for (const old of [...ui.chips.children]) if (old !== ui.field) old.remove()
  if (!ui.field.parentNode) ui.chips.append(ui.field)
  ui.field.after(...ui.view.classes.slice(0, 9).map(([name], i) => chip(ui, name, i + 1)))
}

function drawPlan(ui) {
  const focused = ui.plan.contains(document.activeElement)
  ui.plan.replaceChildren(...planParts(ui.view.plan).map((part) => planPart(ui, part)))
  ui.plan.hidden = !ui.view.plan.length
  ui.unmarkAll.hidden = !(isMarkedView(ui.view) && ui.view.rows.length)
  if (focused) (ui.plan.querySelector('[aria-pressed=true]') ?? ui.plan.querySelector('button'))?.focus()
}

export function applyText(marked) {
  if (!marked) return 'nothing marked'
  return `apply ${marked} ${marked === 1 ? 'mark' : 'marks'}`
}

// Pictures as they are needed: only once its user stops turning pages, and some are kept for going back

const KEPT_PICTURES = 1000

function requestPictures(ui) {
  clearTimeout(ui.timer)
  ui.timer = setTimeout(() => {
    const files = ui.view.rows.map((row) => row.file).filter((file) => !ui.pictures.has(file))
    if (files.length) ui.ask('thumbnails', { files })
  }, 60)
}

export function keepPictures(pictures, received, most = KEPT_PICTURES) {
  for (const [file, source] of received) pictures.set(file, source)
  for (const file of pictures.keys()) {
    if (pictures.size <= most) break
    pictures.delete(file)
  }
}

// What stands beside an image, a few at a time: to find it, Python may have to read a class

const PAIRS_AT_ONCE = 4

function requestPairs(ui) {
  const lacking = ui.view.rows.filter((row) => row.beside && !ui.pairs.has(pairKey(row)))
  const files = lacking.slice(0, PAIRS_AT_ONCE).map((row) => row.file)
  if (files.length) ui.ask('beside', { files })
}

function receivePairs(ui, pairs) {
  keepPictures(ui.pairs, pairs.map((pair) => [pairKey(pair), pair]))
  paintTiles(ui)
  if (pairs.length) requestPairs(ui)
}

function shot(source, file, words) {
  const image = source ? make('img', { src: source, alt: file }) : span('crossed', 'cannot be shown')
  return make('div', { class: 'shot' }, words ? make('b', {}, words) : null, image)
}

function drawLarge(ui, { file, picture: source, lines, pair }) {
  const other = pair.words ? [shot(pair.picture, pair.other, `${pair.words}: ${pair.other || 'none'}`)] : []
  const close = button('×', 'close: escape', () => leave(ui), 'close')
  const shots = make('div', { class: 'shots' }, shot(source, file, other.length ? 'this image' : ''), ...other)
  const caption = make('figcaption', {}, ...lines.map((line) => span(null, line)))
  const isNew = ui.large.hidden
  ui.large.replaceChildren(shots, caption, close)
  ui.large.hidden = false
  if (isNew) placeLarge(ui)
}

function placeLarge(ui) {
  // Where its user looks: a page of a narrow cell is longer than the window
  const room = ui.stage.clientHeight - ui.large.offsetHeight
  ui.large.style.top = `${Math.max(0, Math.min(ui.tiles[ui.cursor]?.offsetTop ?? 0, room))}px`
  ui.large.scrollIntoView({ block: 'nearest' })
}

function receive(ui, message) {
  clearTimeout(ui.patience)
  if (message.kind === 'done' || ui.impatient) say(ui, ui.model.get('message'))
  ui.impatient = false
  if (message.kind === 'large') drawLarge(ui, message)
  if (message.kind === 'pairs') receivePairs(ui, message.pairs)
  if (message.kind !== 'thumbnails') return
  keepPictures(ui.pictures, message.pictures)
  paintTiles(ui)
}

// The widget, as anywidget starts it

const PATIENCE = 8000 // milliseconds
const WIDE = 640 // pixels; narrower, the list of keys is folded

function losePatience(ui) {
  ui.impatient = true
  say(ui, 'Python has not answered yet: it is busy, or its kernel has stopped')
}

function newUI(model) {
  const ui = { model, pictures: new Map(), pairs: new Map(), tiles: [], queue: [], cursor: 0, anchor: 0, turning: '' }
  ui.id = `classes-${Math.random().toString(36).slice(2)}`
  ui.ask = (action, details = {}) => {
    clearTimeout(ui.patience)
    ui.patience = setTimeout(() => losePatience(ui), PATIENCE)
    model.send({ action, ...details })
  }
  ui.help = help()
  const foot = make('div', { class: 'bar foot' }, ui.help, findButton(ui))
  const parts = [topBar(ui), markBar(ui), planBar(ui), stage(ui), foot]
  ui.box = make('div', { class: 'fastcnn-cleaner', onkeydown: (event) => handleKey(ui, event) }, ...parts)
  return ui
}

function render({ model, el }) {
  const ui = newUI(model)
  const claim = (event) => claimKey(ui, event)
  const draw = () => drawView(ui)
  const answers = { 'change:view': draw, 'change:message': draw, 'msg:custom': (message) => receive(ui, message) }
  el.append(ui.box)
  window.addEventListener('keydown', claim, true)
  for (const [name, answer] of Object.entries(answers)) model.on(name, answer)
  draw()
  ui.help.open = el.clientWidth >= WIDE
  return () => {
    clearTimeout(ui.timer)
    clearTimeout(ui.patience)
    window.removeEventListener('keydown', claim, true)
    for (const [name, answer] of Object.entries(answers)) model.off(name, answer)
  }
}

export default { render }
