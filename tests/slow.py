"A file made to be slow, as small as it is, and a program that is interrupted while it decodes one"
import functools, io, signal, subprocess, time

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


def interrupted_while_decoding(command):
    """What a program writes to standard error after Ctrl-C: it must end long before the 40 s are over

    It says when it decodes, in one write to the descriptor: threads that print at once mix their lines."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'decoding\n'
    time.sleep(0.5)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode == -signal.SIGINT and 'KeyboardInterrupt' in errors and time.monotonic() - start < 10
    return errors
