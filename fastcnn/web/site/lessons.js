// What a visitor teaches: classes, their pictures, what leaving one out tells, and the file. It writes text and attributes, never HTML.
import { make, save } from './elements.js'
import { part } from './files.js'
import { MAX_CLASSES, MAX_PICTURES } from './teach.js'
import { advice, overlaps, verdict } from './verdict.js'

const KIND = 'fastcnn taught classes'
const MAX_FILE = 2 ** 25 // Bytes
const $ = id => document.getElementById(id)

const toText = rows => {
  const bytes = new Uint8Array(Float32Array.from(rows.flatMap(row => [...row])).buffer)
  let text = ''
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192))
  return btoa(text)
}

/** The rows of `d` numbers in a text; an error where it holds anything else */
function fromText(text, d) {
  let bytes
  try {
    bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0))
  } catch {
    throw new Error('its features are damaged')
  }
  if (!bytes.length || bytes.length % (4 * d)) throw new Error('its features are damaged')
  const numbers = new Float32Array(bytes.buffer)
  if (!numbers.every(value => Math.abs(value) < 1e6)) throw new Error('its features are no numbers')
  return Array.from({ length: numbers.length / d }, (_, i) => numbers.slice(i * d, (i + 1) * d))
}

/** The classes that a file teaches, { name, features }; an error, in words, where it teaches this model nothing */
export function readFile(text, { model, classes, d }) {
  let found
  try {
    found = JSON.parse(text)
  } catch {
    throw new Error('it is no JSON')
  }
  if (found?.kind !== KIND || !Array.isArray(found.taught)) throw new Error('it holds no classes that were taught here')
  if (found.version !== 1) throw new Error('it is of another version')
  if (found.model !== model) throw new Error('it was taught to another model')
  if (!found.taught.length || found.taught.length > MAX_CLASSES) throw new Error(`1 to ${MAX_CLASSES} classes are possible`)
  const taken = new Set(classes)
  return found.taught.map(each => {
    const name = each?.name
    if (typeof name !== 'string' || !/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,60}$/u.test(name)) throw new Error('a class needs a name of 1 to 60 letters')
    if (taken.has(name)) throw new Error(`the class ${name} is there twice`)
    taken.add(name)
    if (typeof each.features !== 'string') throw new Error(`${name} has no features`)
    return { name, features: fromText(each.features, d) }
  })
}

/** The part of the page where it is taught */
export class Lessons {
  constructor(given) {
    Object.assign(this, given, { list: [], number: 0 })
    $('new').onsubmit = event => {
      event.preventDefault()
      this.create($('new-name').value.trim())
    }
    $('keep').onclick = () => {
      save('taught.json', this.text(), 'application/json')
      this.unsaved = false
    }
    addEventListener('beforeunload', event => this.unsaved && event.preventDefault()) // nothing of it is kept here
    $('forget').onclick = () => this.replace([])
    $('load').onchange = () => this.load($('load').files[0])
    $('new-name').oninput = () => this.say('')
  }

  say(text) {
    $('told').textContent = text
  }

  names() {
    return this.taught ?? []
  }
  current() {
    return this.aim
  }
  target(lesson) {
    this.aim = lesson
    $('give').hidden = !lesson
    $('take').hidden = Boolean(lesson)
    if (lesson) $('give').textContent = `Add to ${lesson.name}`
  }

  async ready() {
    await this.loaded().catch(() => {
      throw new Error('The model could not be loaded')
    })
    this.known ??= this.ask('prepare', { part: part(this.about().features) }).catch(error => {
      throw new Error(`The model's own features cannot be loaded: ${error.message}`)
    })
    return this.known.catch(error => {
      this.known = undefined // another try may do
      throw error
    })
  }

  create(name) {
    const taken = [...this.about().classes, ...this.list.map(lesson => lesson.name)]
    const told = taken.includes(name) ? `There is a class ${name} already.` : this.list.length >= MAX_CLASSES ? `${MAX_CLASSES} classes are possible.` : ''
    $('new-name').setCustomValidity('')
    if (!name || told) return told && this.say(told)
    const lesson = { name, pictures: [] }
    this.list.push(lesson)
    $('new-name').value = ''
    this.say('')
    this.draw()
    lesson.input.focus()
  }

  total() {
    return this.list.reduce((sum, lesson) => sum + lesson.pictures.length, 0)
  }

  /** Add pictures, { file, name } each, to the class that is meant. */
  async add(pictures, lesson = this.aim) {
    if (!lesson) return
    const told = []
    let done = 0
    try {
      await this.ready()
    } catch (error) {
      return this.say(`${error.message}. Reload the page, and give the pictures once more.`)
    }
    for (const { file, name } of pictures) {
      this.say(`${lesson.name}: ${++done} of ${pictures.length} …`)
      if (this.total() >= MAX_PICTURES) {
        told.push(`${MAX_PICTURES} pictures are the most`)
        break
      }
      try {
        const { features, thumb } = await this.ask('features', { blob: file, side: 96 })
        const there = this.list.some(other => other.pictures.some(p => p.features.every((value, i) => Math.abs(value - features[i]) < 1e-4)))
        if (there) told.push(`${name} is there already`)
        else lesson.pictures.push({ features, url: URL.createObjectURL(thumb), name })
      } catch {
        told.push(`${name} cannot be read as a picture`)
      }
    }
    await this.learn(told)
  }

  /** Learn anew, and tell what has changed. */
  async learn(told = []) {
    const run = ++this.number
    const some = this.list.filter(lesson => lesson.pictures.length)
    const report = await this.ask('teach', { lessons: some.map(({ name, pictures }) => ({ name, features: pictures.map(p => p.features) })) })
    if (run !== this.number) return // another one is on its way
    this.report = report
    this.taught = some.map(lesson => lesson.name)
    this.draw()
    this.unsaved = some.length > 0
    this.say(told.length ? `${told.slice(0, 3).join('; ')}${told.length > 3 ? `; and ${told.length - 3} more` : ''}.` : some.length ? 'Learnt.' : '')
    this.changed()
  }

  replace(list) {
    for (const { pictures } of this.list) for (const { url } of pictures) url && URL.revokeObjectURL(url)
    this.list = list
    this.target(undefined)
    return this.learn()
  }

  drop(lesson, picture) {
    if (picture.url) URL.revokeObjectURL(picture.url)
    lesson.pictures = lesson.pictures.filter(other => other !== picture)
    this.learn()
  }

  text() {
    const taught = this.list.filter(lesson => lesson.pictures.length).map(({ name, pictures }) => ({ name, features: toText(pictures.map(p => p.features)) }))
    return JSON.stringify({ kind: KIND, version: 1, model: this.about().sha256, created: new Date().toISOString(), taught })
  }

  async load(file) {
    $('load').value = ''
    if (!file) return
    try {
      if (file.size > MAX_FILE) throw new Error('it is too large')
      const d = await this.ready()
      const { sha256: model, classes } = this.about()
      const found = readFile(await file.text(), { model, classes, d })
      if (found.reduce((sum, each) => sum + each.features.length, 0) > MAX_PICTURES) throw new Error(`more than ${MAX_PICTURES} pictures`)
      await this.replace(found.map(({ name, features }) => ({ name, pictures: features.map((row, i) => ({ features: row, name: `picture ${i + 1} of the file` })) })))
      this.unsaved = false
    } catch (error) {
      this.say(`${file.name} cannot be loaded: ${error.message}.`)
    }
  }

  draw() {
    $('lessons').replaceChildren(...this.list.map(lesson => this.card(lesson)))
    const some = this.list.some(lesson => lesson.pictures.length)
    $('keep').hidden = !some
    $('forget').hidden = !this.list.length
    $('verdict').replaceChildren(...(some && this.report ? this.told() : []))
  }

  told() {
    const { classes, threshold } = this.about()
    return [...overlaps(this.report, classes), advice(this.report, threshold !== null)].map(text => make('p', {}, text))
  }

  card(lesson) {
    const found = this.report?.classes.find(each => each.name === lesson.name)
    lesson.input = make('input', { type: 'file', accept: 'image/*', multiple: true })
    lesson.input.onchange = async () => this.add([...lesson.input.files].map(file => ({ file, name: file.name })), lesson)
    lesson.input.setAttribute('aria-label', `Choose pictures of ${lesson.name}`)
    const camera = make('button', { type: 'button' }, 'From the camera')
    camera.onclick = () => {
      this.target(lesson)
      this.camera()
    }
    const remove = make('button', { type: 'button', className: 'quiet' }, 'Remove')
    remove.setAttribute('aria-label', `Remove the class ${lesson.name}`)
    remove.onclick = () => {
      this.list = this.list.filter(other => other !== lesson)
      for (const { url } of lesson.pictures) url && URL.revokeObjectURL(url)
      if (this.aim === lesson) this.target(undefined)
      this.learn()
    }
    const pictures = lesson.pictures.map(picture => {
      const button = make('button', { type: 'button', className: 'thumb', title: 'Take it out' }, picture.url ? make('img', { src: picture.url, alt: '' }) : make('span', { className: 'gap' }))
      button.setAttribute('aria-label', `Take ${picture.name} out of ${lesson.name}`)
      button.onclick = () => this.drop(lesson, picture)
      return button
    })
    return make('article', {}, make('h3', {}, lesson.name), make('p', { className: 'verdict' }, verdict(found)),
      make('div', { className: 'thumbs' }, ...pictures),
      make('div', { className: 'row' }, make('label', { className: 'button' }, lesson.input, 'Add pictures'), camera, remove))
  }
}
