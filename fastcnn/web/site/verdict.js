// What leaving one out tells, in words. Needs no browser: see verdict.test.js.

export const FEW = 5 // Pictures, below which nothing is claimed
const Z = 1.96

/** 95% interval of a share (Wilson) */
export function interval(right, n) {
  const [share, spread] = [right / n, Z ** 2 / n]
  const middle = (share + spread / 2) / (1 + spread)
  const half = (Z * Math.sqrt((share * (1 - share)) / n + spread / n / 4)) / (1 + spread)
  return [Math.max(0, middle - half), Math.min(1, middle + half)]
}

const whole = share => `${Math.round(100 * share)}%`
const pictures = n => `${n} ${n === 1 ? 'picture' : 'pictures'}`

/** Of one class that is taught; `found` is its part of the report, and missing while it has no pictures */
export function verdict(found) {
  if (!found) return 'Show it some pictures.'
  const { n, right, copies, refused } = found
  if (n < FEW) return `${pictures(n)}: too few to say how well it is told. Show at least ${FEW - n} more.`
  const [low, high] = interval(right, n)
  const kind = copies ? ` ${copies} of them are nearly copies of one another, so this is too kind: show different ones.` : ''
  const none = refused ? ` ${refused} would be called none of these: show more that look like ${refused === 1 ? 'it' : 'them'}.` : ''
  return `${right} of ${n} are recognised when they are left out of the learning: ${whole(right / n)} (95% interval ${whole(low)} to ${whole(high)}).${none}${kind}`
}

/** A line for each class that a taught one is often taken for: a fifth of its pictures, and at least two */
export function overlaps({ classes }, own) {
  const lines = []
  for (const { name, n, others } of classes) {
    for (const other of others) {
      if (other.n < 2 || other.n < n / 5) continue
      lines.push(`${name} and ${other.taught ?? own[other.own]} overlap: ${other.n} of ${n} pictures of ${name} are taken for ${other.taught ?? own[other.own]}.`)
    }
  }
  return lines
}

/** How many true pictures of what was taught will be called none of these */
function missed(classes) {
  const sizes = classes.map(found => found.n).filter(n => n > 1)
  if (!sizes.length) return 'and so are nearly all true pictures of a class of which it has seen one'
  if (classes.some(found => found.n > 1 && found.refused)) return 'and so are true ones that differ from yours as much as some of yours do from the others'
  const [most, least] = [Math.max(...sizes), Math.min(...sizes)]
  return `about ${least === most ? `one in ${most + 1}` : `one in ${most + 1} to one in ${least + 1}`} true pictures of a taught class will be, too`
}

/** What becomes of the model's own classes and, where it `refuses` anything, of none of these */
export function advice({ classes, own }, refuses = true) {
  const lost = own.lost ? `${own.lost} of ${own.n} pictures of its own classes are now taken for what was taught.` : `None of ${own.n} pictures of its own classes is taken for what was taught.`
  return refuses ? `${lost} What is like none of your pictures is still called none of these; ${missed(classes)}.` : lost
}
