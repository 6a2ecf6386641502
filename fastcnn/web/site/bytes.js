// The bytes of a file, wherever it lies: at an address, or as text in the page. The worker reads them, so that the page answers meanwhile.

/** What was packed with gzip as it was; some hosts have unpacked it already. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
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
