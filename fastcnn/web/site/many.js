// Many pictures at once: which files are meant, which answers are shown, and the table that is saved. Needs no browser: see many.test.js.

export const UNSURE = 0.8 // Below this probability an answer is called unsure

const FORMULA = /^'*[=+\-@\t\r\n＝＋－＠]/ // how a cell begins that a spreadsheet may run, as fastcnn.texts has it

const cell = value => {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  if (typeof value !== 'string') return '""'
  return `"${(FORMULA.test(value) ? `'${value}` : value).replaceAll('"', '""')}"`
}

/** The columns and numbers of `fastcnn predict --out`, a line for each row. */
export function csv(rows, classes) {
  const lines = [['file', 'label', 'probability', 'novelty', 'error', ...classes.map(name => `p_${name}`)]]
  for (const { name, label, p, novelty, error, probabilities } of rows) {
    lines.push([name, label, p, novelty, error ?? '', ...classes.map((_, i) => probabilities?.[i])])
  }
  return lines.map(line => `${line.map(cell).join(',')}\n`).join('')
}

/** What kind of answer a row holds. */
export const kindOf = row => (row.error ? 'broken' : row.label === null ? 'none' : `class ${row.label}`)

const unsure = row => !row.error && row.label !== null && row.p < UNSURE

/** Kind of answer → how many rows have it. */
export function counts(rows) {
  const found = new Map([['all', rows.length]])
  const add = kind => found.set(kind, (found.get(kind) ?? 0) + 1)
  for (const row of rows) {
    add(kindOf(row))
    if (unsure(row)) add('unsure')
  }
  return found
}

/** How sure an answer is; of a picture that is none of these, how it would be shared out says nothing */
const sureness = row => (row.label === null ? 2 : (row.p ?? 3))

const text = new Intl.Collator(undefined, { numeric: true }).compare
const ORDERS = {
  given: () => 0,
  file: (a, b) => text(a.name, b.name),
  answer: (a, b) => text(kindOf(a), kindOf(b)) || (b.p ?? -1) - (a.p ?? -1), // the surest first
  probability: (a, b) => sureness(a) - sureness(b), // the least sure first
}

/** The rows of a kind in an order, the other way round if `down`. */
export function pick(rows, { kind = 'all', order = 'given', down = false } = {}) {
  const some = rows.filter(row => kind === 'all' || (kind === 'unsure' ? unsure(row) : kindOf(row) === kind))
  some.sort(ORDERS[order])
  return down ? some.reverse() : some
}

/** Every file in and below what was dropped, as { file, name }; a folder's names begin with its own. */
async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject))
    return [{ file, name: entry.fullPath.replace(/^\//, ''), inFolder: entry.fullPath.lastIndexOf('/') > 0 }]
  }
  const reader = entry.createReader()
  const found = []
  for (;;) { // a reader gives a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))
    if (!some.length) return found
    for (const each of some) found.push(...(await below(each)))
  }
}

/** What was dropped, pasted or chosen → { pictures: [{ file, name }], left: how many files in folders are no pictures }. */
export async function gather(given) {
  const entries = [...(given.items ?? [])].map(item => item.webkitGetAsEntry?.()).filter(Boolean) // now: it is empty later
  const files = [...(given.files ?? given)].map(file => ({ file, name: file.webkitRelativePath || file.name, inFolder: Boolean(file.webkitRelativePath) }))
  const all = entries.some(entry => entry.isDirectory) ? (await Promise.all(entries.map(below))).flat() : files
  const isPicture = ({ file }) => file.type.startsWith('image/')
  const asked = all.filter(each => !each.inFolder || isPicture(each)) // what was named one by one gets an answer, if only that it is no picture
  asked.sort((a, b) => (a.inFolder && b.inFolder ? text(a.name, b.name) : 0))
  return { pictures: asked.map(({ file, name }) => ({ file, name: name || 'the pasted picture' })), left: all.length - asked.length }
}
