// How a WebP has to be turned. Browsers turn the other formats by EXIF; Chromium does not turn this one.

const text = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4))

/** EXIF → orientation, 1 to 8; 1 where nothing is said */
function orientationIn(exif) {
  const tiff = text(exif, 0) === 'Exif' ? exif.subarray(6) : exif
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength)
  const little = text(tiff, 0).startsWith('II')
  const first = view.getUint32(4, little)
  for (let i = 0; i < view.getUint16(first, little); i++) {
    const entry = first + 2 + 12 * i
    if (view.getUint16(entry, little) !== 0x0112) continue
    const value = view.getUint16(entry, little) && view.getUint16(entry + 8, little)
    return value >= 1 && value <= 8 ? value : 1
  }
  return 1
}

/** The content of a file → its orientation if it is a WebP, else undefined: the browser knows */
export function webpOrientation(bytes) {
  if (text(bytes, 0) !== 'RIFF' || text(bytes, 8) !== 'WEBP') return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = view.getUint32(at + 4, true)
    if (text(bytes, at) !== 'EXIF') at += 8 + size + (size % 2)
    else {
      try {
        return orientationIn(bytes.subarray(at + 8, at + 8 + size))
      } catch (error) {
        if (error instanceof RangeError) return 1 // cut off
        throw error
      }
    }
  }
  return 1
}

/** Canvas matrix that shows a picture of so many pixels upright */
export function upright(orientation, width, height) {
  return {
    1: [1, 0, 0, 1, 0, 0],
    2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height],
    4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, height, 0],
    7: [0, -1, -1, 0, height, width],
    8: [0, -1, 1, 0, 0, width],
  }[orientation]
}
