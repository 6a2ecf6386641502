// Where the page's files come from: its folder; or, where it is a single file, the page itself.

const inside = name => document.querySelector(`script[data-file="${name}"]`)

/** What `publish` says of the model: classes, size, names of files … */
export const about = JSON.parse(document.getElementById('about').textContent)

/** Where the bytes of a file are, for `bytesOf` in the worker */
export function part(name) {
  const here = inside(name)
  return here ? { name, text: here.textContent } : { name, url: new URL(name, import.meta.url).href }
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
