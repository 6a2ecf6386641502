// The bytes of a file, wherever it lies: at an address, or as text in the page. The worker reads them, so that the page answers meanwhile.
import { XzReadableStream } from './runtime/xz-decompress.mjs'

const XZ = [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] // how a file begins that xz has packed

/** What was packed as it was. */
async function unpacked(bytes) {
  if (XZ.some((byte, i) => bytes[i] !== byte)) return bytes
  const stream = new XzReadableStream(new Blob([bytes]).stream())
  // Chromium tells of bytes that do not unpack as of a network that fails
  const whole = await new Response(stream).arrayBuffer().catch(() => { throw new Error('it is damaged') })
  return new Uint8Array(whole)
}

async function fetched({ url, name }, tell) {
  const reply = await fetch(url)
  if (!reply.ok) throw new Error(`${name} cannot be fetched (${reply.status})`)
  const parts = []
  const reader = reply.body.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value)
    tell(next.value.length)
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}

/** The bytes of `{ name, url }` or `{ name, text }`, base64, unpacked; `tell` hears how many have come, piece by piece. */
export async function bytesOf(part, tell = () => {}) {
  if (part.text === undefined) return unpacked(await fetched(part, tell))
  const bytes = Uint8Array.from(atob(part.text), letter => letter.charCodeAt(0))
  tell(bytes.length)
  return unpacked(bytes)
}
