// A live picture, answered some times a second.
import { cameraTrouble } from './words.js'

export const EVERY = 200 // Milliseconds between two answers, at least
export const MEMORY = 700 // Milliseconds after which an answer has faded to a third

/** The mean of what was and what is, the newer the weightier: what a second shows, not a single flicker. */
export function smooth(before, now, milliseconds) {
  if (before?.length !== now.length) return Float32Array.from(now)
  const weight = 1 - Math.exp(-milliseconds / MEMORY)
  return before.map((value, i) => value + weight * (now[i] - value))
}

/** The camera of a device. `heard(bitmap)` gets a frame and is waited for; `closed()` is told when it is off. */
export class Camera {
  constructor(video, heard, closed) {
    Object.assign(this, { video, heard, closed, facing: 'environment', turn: 0 })
    document.addEventListener('visibilitychange', () => document.hidden && this.close())
    window.addEventListener('pagehide', () => this.close())
  }

  get on() {
    return Boolean(this.stream?.active)
  }

  /** Start it; promises '' or, in one line, why there is none. */
  async open() {
    if (!navigator.mediaDevices?.getUserMedia) return 'The browser gives a camera to https pages only: choose a file instead.'
    this.stop()
    const mine = ++this.turn
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.facing } })
      if (mine !== this.turn) { // closed while the browser asked
        for (const track of stream.getTracks()) track.stop()
        return ''
      }
      this.stream = stream
    } catch (error) {
      return cameraTrouble(error.name)
    }
    this.video.srcObject = this.stream
    for (const track of this.stream.getTracks()) track.onended = () => this.close() // unplugged, or taken back
    await this.video.play().catch(() => {}) // closed before it began
    if (mine === this.turn) this.watch(mine)
    return ''
  }

  /** Whether there is another one to switch to; known once the first was allowed. */
  async others() {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? []
    return devices.filter(device => device.kind === 'videoinput').length > 1
  }

  async turnAround() {
    this.facing = this.facing === 'user' ? 'environment' : 'user'
    return this.open()
  }

  async watch(mine) {
    while (mine === this.turn) {
      const began = performance.now()
      if (this.video.readyState > 1) await this.heard(await createImageBitmap(this.video))
      await new Promise(resolve => setTimeout(resolve, Math.max(30, EVERY - (performance.now() - began))))
    }
  }

  /** The picture of now, as a JPEG */
  still() {
    const { videoWidth: width, videoHeight: height } = this.video
    const canvas = Object.assign(document.createElement('canvas'), { width, height })
    canvas.getContext('2d').drawImage(this.video, 0, 0)
    return new Promise(resolve => canvas.toBlob(resolve, 'image/jpeg', 0.95))
  }

  stop() {
    this.turn++
    for (const track of this.stream?.getTracks() ?? []) track.stop()
  }

  close() {
    if (!this.stream) return
    this.stop()
    this.stream = undefined
    this.closed()
  }
}
