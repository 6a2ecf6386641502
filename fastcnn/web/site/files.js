// Where the page's files come from: its folder; or, where it is a single file, the page itself.

const inside = name => document.querySelector(`script[data-file="${name}"]`)

/** What `publish` says of the model: classes, size, names of files … */
export const about = JSON.parse(document.getElementById('about').textContent)

/** What was packed with gzip as it was; some hosts have unpacked it already. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

async function fetched(name, tell) {
  const reply = await fetch(new URL(name, import.meta.url))
  if (!reply.ok) throw new Error(`${name} cannot be fetched (${reply.status})`)
  const parts = []
  const reader = reply.body.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    parts.push(next.value)
    tell(next.value.length)
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}

/** The bytes of a file, unpacked; `tell` hears how many have come, piece by piece. */
export async function file(name, tell) {
  const here = inside(name)
  const bytes = here ? Uint8Array.from(atob(here.textContent), letter => letter.charCodeAt(0)) : await fetched(name, tell)
  if (here) tell(bytes.length)
  return unpacked(bytes)
}

/** The thread that decodes pictures and runs the model. */
export function startWorker() {
  const here = inside('worker.js')
  if (!here) return new Worker(new URL('worker.js', import.meta.url), { type: 'module' })
  return new Worker(URL.createObjectURL(new Blob([here.textContent], { type: 'text/javascript' })))
}

/** From now on the page opens without a network, too. */
export function keepOffline() {
  if (inside('worker.js') || !navigator.serviceWorker) return
  navigator.serviceWorker.register(new URL('service.js', import.meta.url)).catch(() => {}) // a private window, say: the page works without
}
