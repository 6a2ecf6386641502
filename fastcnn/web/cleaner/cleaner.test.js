// What needs no browser: node --test fastcnn/web/cleaner/
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

import * as cleaner from './cleaner.js'

const EARTH = { file: 'earth/1.jpg', label: 'earth', name: '1.jpg', title: '', notes: [], aside: '' }
const row = (more = {}) => ({ ...EARTH, to: null, group: '', ...more })

// A page of the few things that `make` needs
class Node {
  constructor(tagName) {
    Object.assign(this, { tagName, attributes: {}, listeners: {}, children: [] })
  }
  setAttribute(name, value) {
    this.attributes[name] = value
  }
  addEventListener(name, act) {
    this.listeners[name] = act
  }
  append(...parts) {
    this.children.push(...parts)
  }
}
globalThis.document = { createElement: (tag) => new Node(tag.toUpperCase()) }

test('make writes attributes and text, and leaves out what is not there', () => {
  const act = () => 'done'
  const attributes = { title: 'x', hidden: true, list: null, for: false, onclick: act }
  const node = cleaner.make('b', attributes, 'a', null, 0, undefined)
  assert.deepEqual([node.tagName, node.attributes, node.children], ['B', { title: 'x', hidden: '' }, ['a', 0]])
  assert.equal(node.listeners.click, act)
})

test('text from the web stays one piece of text', () => {
  const hostile = '<img src=x onerror=alert(1)>'
  assert.deepEqual(cleaner.make('span', { title: hostile }, hostile).children, [hostile])
})

test('the script holds no way to write HTML, and no address', () => {
  const writers = ['innerHTML', 'outerHTML', 'insertAdjacent', 'document.write', 'eval(']
  const words = [...writers, '://', 'import ', 'import(', 'fetch(', 'url(']
  for (const name of ['cleaner.js', 'cleaner.css']) {
    const text = readFileSync(new URL(name, import.meta.url), 'utf8')
    assert.deepEqual(words.filter((word) => text.includes(word)), [])
  }
})

test('what will happen to an image', () => {
  const said = (to, aside) => [cleaner.fate(row({ to, aside })), cleaner.fateKind(row({ to, aside }))]
  assert.deepEqual(said(null, ''), ['', ''])
  assert.deepEqual(said('', ''), ['set aside', 'aside'])
  assert.deepEqual(said('mars', ''), ['→ mars', 'move'])
  assert.deepEqual(said('earth', 'by hand'), ['call back', 'back'])
  assert.deepEqual(said('mars', 'by hand'), ['call back as mars', 'back'])
})

test('the sign in the corner says what a click does', () => {
  const signs = [row(), row({ aside: 'by hand' }), row({ to: '' }), row({ aside: 'by hand', to: 'earth' })]
  assert.deepEqual(signs.map(cleaner.cornerSign), ['×', '+', '↶', '↶'])
})

test('what a model thinks', () => {
  assert.equal(cleaner.opinion(row()), '')
  assert.equal(cleaner.opinion(row({ predicted: 'mars', probability: 0.834 })), 'mars 83%')
  assert.equal(cleaner.opinion(row({ predicted: '', probability: 0.5 })), 'none of them 50%')
})

test('a screen reader gets all of it in one sentence', () => {
  assert.equal(cleaner.sentence(row()), 'earth, 1.jpg')
  const model = { predicted: 'mars', probability: 1, loss: 4 }
  const full = row({ title: 'Blue', notes: ['dark'], aside: 'by hand', to: 'mars', ...model })
  assert.equal(
    cleaner.sentence(full),
    'earth, 1.jpg, Blue, dark, set aside as by hand, the model says mars 100%, loss 4, marked: call back as mars',
  )
  const beside = row({ beside: 'nearest in mars' })
  assert.equal(cleaner.sentence(beside), 'earth, 1.jpg, beside it: nearest in mars')
  const pair = { file: beside.file, words: 'nearest in mars', other: 'mars/7.jpg' }
  assert.equal(cleaner.sentence(beside, pair), 'earth, 1.jpg, beside it: nearest in mars, mars/7.jpg')
  assert.equal(cleaner.pairKey(beside), cleaner.pairKey(pair))
  assert.notEqual(cleaner.pairKey(beside), cleaner.pairKey({ ...pair, words: 'original' }))
})

test('neighbours of one group share a frame', () => {
  const rows = ['', 'g', 'g', 'h', '', '', 'g'].map((group) => row({ group }))
  assert.deepEqual(cleaner.groupTiles(rows), [[0], [1, 2], [3], [4], [5], [6]])
  assert.deepEqual(cleaner.groupTiles([]), [])
})

test('the cursor begins where a page was entered', () => {
  assert.equal(cleaner.newCursor('on', 7, 24), 0)
  assert.equal(cleaner.newCursor('back', 7, 24), 23)
  assert.equal(cleaner.newCursor('', 7, 24), 7)
  assert.equal(cleaner.newCursor('', 7, 3), 2)
  assert.equal(cleaner.newCursor('back', 7, 0), 0)
})

test('a selection goes from the anchor to the cursor, either way', () => {
  const rows = ['a', 'b', 'c', 'd'].map((file) => row({ file }))
  assert.deepEqual(cleaner.selectedFiles({ anchor: 1, cursor: 2, view: { rows } }), ['b', 'c'])
  assert.deepEqual(cleaner.selectedFiles({ anchor: 3, cursor: 2, view: { rows } }), ['c', 'd'])
})

test('up and down go to the nearest tile of the next line', () => {
  const boxes = [0, 1, 2, 3, 4].map((i) => ({ top: 100 * Math.floor(i / 3), left: 150 * (i % 3), height: 90 }))
  assert.equal(cleaner.nearestInLine(boxes, 1, 1), 4)
  assert.equal(cleaner.nearestInLine(boxes, 2, 1), 4) // the last line is short
  assert.equal(cleaner.nearestInLine(boxes, 3, -1), 0)
  assert.equal(cleaner.nearestInLine(boxes, 0, -1), undefined)
})

function keyboard(more = {}) {
  const [grid, field, outside] = [new Node('DIV'), new Node('INPUT'), new Node('DIV')]
  const asked = []
  const ui = {
    grid: { contains: (node) => node === grid },
    box: { contains: (node) => node !== outside },
    tiles: [{}, {}],
    view: { rows: [row(), row({ file: 'earth/2.jpg' })], classes: [['earth', 2], ['mars', 1]] },
    anchor: 0,
    cursor: 0,
    ask: (action, details) => asked.push([action, details]),
    ...more,
  }
  const event = (key, keys = {}) => ({ key, target: grid, ...keys })
  const press = (key, keys) => cleaner.keyAction(ui, event(key, keys))?.(ui, event(key, keys))
  return { ui, asked, event, press, field, outside, grid }
}

test('keys ask for actions', () => {
  const { asked, press } = keyboard({ anchor: 1 })
  for (const key of ['x', 'X', ' ', 'Delete', 'b', 'u', 'y', '2', '0']) press(key)
  const files = ['earth/1.jpg', 'earth/2.jpg']
  const marks = [...Array(4).fill(['toggle', { files }]), ['keep_best', { files }]]
  const relabelled = [['mark', { files, to: 'mars' }], ['mark', { files, to: null }]]
  assert.deepEqual(asked, [...marks, ['undo', undefined], ['redo', undefined], ...relabelled])
})

test('r shows what is marked, and goes back to where one was', () => {
  const { asked, press, ui } = keyboard()
  const shown = (problem, more = {}) => Object.assign(ui.view, { label: 'earth', problem, page: 3, ...more })
  shown('odd')
  press('r')
  shown('marked', { label: '', page: 0 })
  press('r')
  shown('marked_aside', { label: '', page: 0 })
  press('r')
  const back = ['show', { label: 'earth', problem: 'odd', page: 3 }]
  assert.deepEqual(asked, [['show', { label: '', problem: 'marked' }], back, back])
})

test('the kinds of mark are counted; one kind alone says enough', () => {
  const [all, aside, gone] = [['marked', 'marked', 3], ['marked_aside', 'set aside', 3], ['', 'no longer there', 1]]
  assert.deepEqual(cleaner.planParts([]), [])
  assert.deepEqual(cleaner.planParts([all, aside]), [aside])
  assert.deepEqual(cleaner.planParts([all, gone]), [all, gone])
  assert.deepEqual(cleaner.planParts([all, aside, gone]), [all, aside, gone])
})

test('an empty page says why', () => {
  const text = (problem, label, classes = ['earth']) => cleaner.emptyText({ problem, label, classes, name: 'sky' })
  assert.equal(text('marked_move', ''), 'Nothing is marked here.')
  assert.equal(text('', 'earth'), 'No image here is of this kind.')
  assert.equal(text('', ''), 'No image is left in these classes.')
  assert.equal(text('', '', []), 'No image yet: put a folder of images for each class into sky.')
})

test('a refusal is told from an outcome', () => {
  assert.deepEqual(['not done: no room', 'applied: 2 set aside'].map(cleaner.isRefusal), [true, false])
})

test('ctrl+z undoes, with shift it redoes, and ctrl+s is none of ours', () => {
  const { asked, press, ui, event } = keyboard()
  press('z', { ctrlKey: true })
  press('z', { metaKey: true, shiftKey: true })
  assert.deepEqual(asked.map(([action]) => action), ['undo', 'redo'])
  assert.equal(cleaner.keyAction(ui, event('s', { ctrlKey: true })), undefined)
  assert.equal(cleaner.isOurs(ui, event('s', { ctrlKey: true })), false)
})

test('the notebook hears no letter, and nothing that is typed into a field', () => {
  const { ui, event, field, outside } = keyboard()
  assert.equal(cleaner.isOurs(ui, event('m')), true)
  assert.equal(cleaner.keyAction(ui, event('m')), undefined)
  assert.equal(cleaner.isOurs(ui, event('ArrowLeft', { target: field })), true)
  assert.equal(cleaner.keyAction(ui, event('x', { target: field })), undefined)
  assert.equal(cleaner.isOurs(ui, event('x', { target: outside })), false)
})

test('keys that need a tile do nothing on an empty page', () => {
  const { asked, press } = keyboard({ tiles: [] })
  for (const key of ['x', 'b', '1', 'Enter', 'ArrowLeft', 'u']) press(key)
  assert.deepEqual(asked, [['undo', undefined]])
})

test('a digit without a class is nothing, and alt leaves keys alone', () => {
  const { asked, press } = keyboard()
  press('3')
  press('x', { altKey: true })
  press('Enter', { shiftKey: true })
  assert.deepEqual(asked, [])
})

test('keys pressed while a page is turned wait for the new page', () => {
  const done = []
  const ui = { turning: 'on', queue: [() => done.push(1), () => done.push(2)] }
  cleaner.runQueuedKeys(ui)
  assert.deepEqual(done, [])
  ui.turning = ''
  cleaner.runQueuedKeys(ui)
  assert.deepEqual([done, ui.queue], [[1, 2], []])
})

test('the oldest pictures go first', () => {
  const pictures = new Map([['a', '1'], ['b', '2']])
  cleaner.keepPictures(pictures, [['c', '3'], ['d', '']], 3)
  assert.deepEqual([...pictures.keys()], ['b', 'c', 'd'])
})

test('the button says how many marks there are', () => {
  assert.deepEqual([0, 1, 2].map(cleaner.applyText), ['nothing marked', 'apply 1 mark', 'apply 2 marks'])
})
