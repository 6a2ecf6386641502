"A file made to be slow, as small as it is"
import functools, io

from PIL import Image


@functools.cache
def slow_jpeg(scans=20_000, side=4096):
    "A progressive JPEG of a few hundred kilobytes, one scan of which comes again and again: 40 s of decoding"
    buffer = io.BytesIO()
    Image.new('L', (side, side), 128).save(buffer, 'JPEG', progressive=True)
    data = buffer.getvalue()
    first = data.index(b'\xff\xda')
    start = data.index(b'\xff\xda', first + 2)
    end = data.index(b'\xff', start + 2)
    return data[:start] + data[start:end]*scans + data[end:]
