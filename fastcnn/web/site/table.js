// The table of many pictures. It writes text and attributes, never HTML.
import { make, save } from './elements.js'
import { counts, csv, kindOf, pick, UNSURE } from './many.js'
import { percent } from './words.js'

const PAGE = 100 // Rows shown at first; each has a small picture of its own
const $ = id => document.getElementById(id)

const WORDS = { all: 'All', unsure: `Unsure (below ${percent(UNSURE)})`, none: 'None of these', broken: 'Could not be read' }
const inWords = kind => WORDS[kind] ?? kind.slice('class '.length)

/** Pictures, one after the other through `look(file)` → { label, p, novelty, probabilities, thumb }; a click calls `open(file, name)`. */
export class Table {
  constructor({ look, open, classes, tell }) {
    Object.assign(this, { look, open, classes, tell, rows: [], waiting: [], drawn: new Map(), most: PAGE, view: {} })
    $('kind').onchange = () => this.change({ kind: $('kind').value })
    for (const button of document.querySelectorAll('#many th button')) button.onclick = () => this.sort(button.dataset.order)
    $('further').onclick = () => {
      this.most += PAGE
      this.draw()
    }
    $('save').onclick = () => save('predictions.csv', csv(this.rows, this.classes()), 'text/csv')
    $('halt').onclick = () => {
      this.waiting = []
    }
    $('clear').onclick = () => this.clear()
  }

  /** Take some more. */
  async add(pictures, left = 0) {
    this.left = (this.left ?? 0) + left
    this.waiting.push(...pictures)
    $('many').hidden = false
    if (this.running) return
    this.running = true
    while (this.waiting.length) {
      this.progress()
      const row = this.waiting.shift()
      const found = await this.look(row.file)
      if (!('label' in row)) this.rows.push(row) // it is new
      this.forget(row)
      Object.assign(row, { label: undefined, p: undefined, probabilities: undefined, novelty: undefined, error: undefined }, found)
      this.due ??= requestAnimationFrame(() => this.draw()) // however quick the model is
    }
    this.running = false
    this.draw()
    this.progress()
    this.tell(this.summary())
  }

  /** Look at all of them once more: the model has learnt something. */
  again() {
    if (!this.rows.length) return
    const known = new Set(this.rows)
    this.waiting = [...this.rows, ...this.waiting.filter(row => !known.has(row))]
    this.add([])
  }

  /** A row is drawn no longer. */
  forget(row) {
    const drawn = this.drawn.get(row)
    if (drawn?.url) URL.revokeObjectURL(drawn.url)
    this.drawn.delete(row)
  }

  summary() {
    const found = counts(this.rows)
    const spoken = { none: 'none of these', broken: 'could not be read' }
    const parts = [...found].filter(([kind]) => kind !== 'all' && kind !== 'unsure').sort((a, b) => b[1] - a[1])
    const some = parts.slice(0, 6).map(([kind, n]) => `${n} ${spoken[kind] ?? inWords(kind)}`)
    const rest = parts.slice(6).reduce((sum, [, n]) => sum + n, 0)
    if (rest) some.push(`${rest} others`)
    const unsure = found.get('unsure')
    return `${found.get('all')} pictures: ${some.join(', ')}${unsure ? `; ${unsure} of these answers ${unsure === 1 ? 'is' : 'are'} unsure, below ${percent(UNSURE)}` : ''}`
  }

  progress() {
    const left = this.left ? ` ${this.left} other ${this.left === 1 ? 'file is no picture and was' : 'files are no pictures and were'} left out.` : ''
    const waiting = this.waiting.length
    $('count').textContent = `${this.rows.length} ${this.rows.length === 1 ? 'picture' : 'pictures'}${waiting ? `, ${waiting} to go` : ''}.${left}`
    Object.assign($('share'), { max: Math.max(1, this.rows.length + waiting), value: this.rows.length, hidden: !this.running })
    $('halt').hidden = !this.running
    $('save').disabled = $('clear').disabled = this.running || !this.rows.length
  }

  change(view) {
    this.view = { ...this.view, ...view }
    this.most = PAGE
    this.draw()
  }

  /** Each click on a heading: up, down, as they came. */
  sort(order) {
    const { order: now, down } = this.view
    if (now !== order) this.change({ order, down: false })
    else this.change(down ? { order: 'given', down: false } : { down: true })
  }

  draw() {
    cancelAnimationFrame(this.due)
    this.due = undefined
    this.offer()
    const all = pick(this.rows, this.view)
    const some = all.slice(0, this.most)
    const wanted = new Set(some)
    for (const row of this.drawn.keys()) wanted.has(row) || this.forget(row)
    const body = $('rows')
    const now = some.map(row => this.element(row))
    const same = [...body.children].every((element, i) => element === now[i])
    same ? body.append(...now.slice(body.children.length)) : body.replaceChildren(...now) // rows that stay keep the focus
    $('further').hidden = all.length <= this.most
    $('further').textContent = `Show ${Math.min(PAGE, all.length - this.most)} more of ${all.length - this.most}`
    for (const head of document.querySelectorAll('#many th')) {
      const mine = head.firstElementChild?.dataset.order === this.view.order
      mine ? head.setAttribute('aria-sort', this.view.down ? 'descending' : 'ascending') : head.removeAttribute('aria-sort')
    }
  }

  /** What can be asked for: kinds of answers, with how many there are. */
  offer() {
    const found = counts(this.rows)
    const first = ['all', 'unsure', 'none', 'broken']
    const kinds = [...first.filter(kind => found.get(kind)), ...[...found.keys()].filter(kind => !first.includes(kind)).sort()]
    const { kind = 'all' } = this.view
    const chosen = kinds.includes(kind) ? kind : 'all'
    $('kind').replaceChildren(...kinds.map(kind => make('option', { value: kind }, `${inWords(kind)}: ${found.get(kind)}`)))
    $('kind').value = this.view.kind = chosen
  }

  cells(row) {
    if (row.label === null) return [make('td', { colSpan: 2 }, 'None of these')]
    const share = make('span', { className: 'track' }, make('i'))
    share.firstChild.style.width = `${100 * row.p}%`
    return [make('td', {}, row.label), make('td', { className: 'sure' }, share, make('span', {}, percent(row.p)))]
  }

  element(row) {
    if (this.drawn.has(row)) return this.drawn.get(row).element
    const url = row.thumb ? URL.createObjectURL(row.thumb) : ''
    const picture = url ? make('img', { src: url, alt: '', width: 56, height: 56 }) : make('span', { className: 'gap' })
    const button = make('button', { type: 'button', className: 'thumb', title: 'Look at it closely' }, picture)
    button.setAttribute('aria-label', `Look closely at ${row.name}`)
    button.onclick = () => this.open(row.file, row.name)
    button.disabled = Boolean(row.error)
    const kind = kindOf(row).split(' ')[0]
    const cells = row.error ? [make('td', { colSpan: 2 }, row.error)] : this.cells(row)
    const element = make('tr', { className: kind }, make('td', {}, button), make('td', { className: 'file' }, row.name), ...cells)
    this.drawn.set(row, { element, url })
    return element
  }

  clear() {
    Object.assign(this, { rows: [], left: 0, view: {}, most: PAGE })
    this.draw()
    this.progress()
    $('many').hidden = true
    this.tell('The table is empty.')
  }
}
