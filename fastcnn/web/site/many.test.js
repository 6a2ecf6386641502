import assert from 'node:assert/strict'
import { test } from 'node:test'
import { counts, csv, gather, kindOf, pick } from './many.js'

const ROWS = [
  { name: 'b10.jpg', label: 'ants', p: 0.75, novelty: 1.5, probabilities: [0.75, 0.25] },
  { name: 'b9.jpg', label: 'bees', p: 0.875, novelty: 1, probabilities: [0.125, 0.875] },
  { name: 'no.jpg', error: 'it is no picture' },
  { name: 'x "1";2.jpg', label: null, p: 0.96875, novelty: 9, probabilities: [0.96875, 0.03125] },
]
const names = rows => rows.map(row => row.name)

test('the table has the columns of `fastcnn predict --out`, and texts stay texts', () => {
  assert.equal(csv(ROWS, ['ants', '=bees']), [
    '"file","label","probability","novelty","error","p_ants","p_=bees"',
    '"b10.jpg","ants",0.75,1.5,"",0.75,0.25',
    '"b9.jpg","bees",0.875,1,"",0.125,0.875',
    '"no.jpg","","","","it is no picture","",""',
    '"x ""1"";2.jpg","",0.96875,9,"",0.96875,0.03125', ''].join('\n'))
})

test('what a spreadsheet would run is text', () => {
  const first = name => csv([{ name }], []).split('\n')[1].split(',')[0]
  assert.deepEqual(['=1+1', '+a', '-a', '@a', "'=a", '＝a', 'a=1', '\ta'].map(first), [`"'=1+1"`, `"'+a"`, `"'-a"`, `"'@a"`, `"''=a"`, `"'＝a"`, '"a=1"', `"'\ta"`])
})

test('how many there are of each kind', () => {
  assert.deepEqual(Object.fromEntries(counts(ROWS)), { all: 4, 'class ants': 1, 'class bees': 1, broken: 1, none: 1, unsure: 1 })
  assert.equal(kindOf({ label: 'broken' }), 'class broken')
})

test('rows are picked and put in order', () => {
  assert.deepEqual(names(pick(ROWS, { order: 'file' })), ['b9.jpg', 'b10.jpg', 'no.jpg', 'x "1";2.jpg'])
  assert.deepEqual(names(pick(ROWS, { order: 'probability' })), ['b10.jpg', 'b9.jpg', 'x "1";2.jpg', 'no.jpg'])
  assert.deepEqual(names(pick(ROWS, { kind: 'unsure' })), ['b10.jpg'])
  assert.deepEqual(names(pick(ROWS, { kind: 'class bees', order: 'answer', down: true })), ['b9.jpg'])
  assert.deepEqual(names(ROWS).slice(0, 2), ['b10.jpg', 'b9.jpg']) // as they were
})

const file = (name, type, webkitRelativePath = '') => ({ name, type, webkitRelativePath })
const entry = (fullPath, type) => ({ isFile: true, fullPath, file: give => give(file(fullPath, type)) })
const folder = (fullPath, ...parts) => ({ isDirectory: true, createReader: () => ({ readEntries: give => give(parts.splice(0, 2)) }), fullPath })

test('all of a folder is read, a portion at a time, and what is no picture is counted', async () => {
  const dropped = folder('/ants', entry('/ants/b10.jpg', 'image/jpeg'), entry('/ants/notes.txt', 'text/plain'), folder('/ants/more', entry('/ants/more/c.png', 'image/png')),
    entry('/ants/b9.jpg', 'image/jpeg'))
  const found = await gather({ items: [{ webkitGetAsEntry: () => dropped }], files: [] })
  assert.deepEqual([names(found.pictures), found.left], [['ants/b9.jpg', 'ants/b10.jpg', 'ants/more/c.png'], 1])
})

test('what was named itself gets an answer, whatever it is', async () => {
  const found = await gather([file('b.txt', 'text/plain'), file('a.jpg', 'image/jpeg'), file('', 'image/png')])
  assert.deepEqual([names(found.pictures), found.left], [['b.txt', 'a.jpg', 'the pasted picture'], 0])
  const chosen = await gather([file('t.txt', 'text/plain', 'f/t.txt'), file('a.jpg', 'image/jpeg', 'f/a.jpg')])
  assert.deepEqual([names(chosen.pictures), chosen.left], [['f/a.jpg'], 1])
})
