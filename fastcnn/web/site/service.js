// Keeps the site's files, so that the page opens without a network.
// `publish` puts a line before this one, with `self.site`: its version, its files, and those that are fixed, as they are named after their content.

const { version, files, fixed } = self.site
const OWN = `fastcnn ${self.registration.scope} ` // the sites of one host share a store
const NAME = OWN + version

async function install() {
  const cache = await caches.open(NAME)
  // What is named after its content is there already, for the page has just loaded it: a host that cannot compare would send it again
  await cache.addAll(files.map(name => new Request(name, { cache: fixed.includes(name) ? 'force-cache' : 'no-cache' })))
  await self.skipWaiting()
}

async function activate() {
  const old = (await caches.keys()).filter(name => name.startsWith(OWN) && name !== NAME)
  await Promise.all(old.map(name => caches.delete(name)))
  await self.clients.claim()
}

/** From the network, so that a site that was published anew is seen at once; from what was kept where there is none, or nothing can have changed. */
async function answer(request) {
  const cache = await caches.open(NAME)
  const kept = await cache.match(request, { ignoreSearch: true })
  if (kept && fixed.includes(request.url.slice(self.registration.scope.length))) return kept
  try {
    return await fetch(request, { cache: 'no-cache' }) // the browser's own store may hold what was published before
  } catch (error) {
    if (kept) return kept
    throw error
  }
}

self.addEventListener('install', event => event.waitUntil(install()))
self.addEventListener('activate', event => event.waitUntil(activate()))
self.addEventListener('fetch', event => {
  const { method, url } = event.request
  if (method === 'GET' && url.startsWith(self.registration.scope)) event.respondWith(answer(event.request))
})
