// What the parts of the page make alike. It writes text and attributes, never HTML.

/** An element with attributes and what stands in it. */
export const make = (kind, given = {}, ...parts) => {
  const element = Object.assign(document.createElement(kind), given)
  element.append(...parts)
  return element
}

/** Offer a file to be saved. */
export function save(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }))
  make('a', { href: url, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(url), 60_000) // by then it is saved
}
