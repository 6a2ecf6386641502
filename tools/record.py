"""The recording of the README: commands that are really run, in a terminal of their own, offline on the built-in source

    python tools/record.py           run them (some minutes) and write images/terminal.svg

The terminal's bytes go through a terminal emulator (pyte), and what its screen shows from moment to moment becomes an SVG whose
lines are text: sharp at any size, and still, at the last screen, for who asks for less motion. What takes long is shown faster,
and the folder's path as ~; nothing else is changed. It needs a POSIX system.
"""
import codecs, fcntl, html, os, pty, select, struct, subprocess, sys, tempfile, termios, time
from itertools import groupby
from pathlib import Path

import pyte

from notebooks import ROOT

PICTURE = ROOT/'images'/'terminal.svg'
COLUMNS, ROWS = 96, 22
TALL = 500 # lines that the emulator keeps: nothing scrolls away, the picture's window moves down instead
COMMANDS = [ # as in the README, with fewer images
    'fastcnn search "planet jupiter" --label jupiter --out planets -n 60',
    'fastcnn search "planet saturn" --label saturn --out planets -n 60',
    'fastcnn clean planets',
    'fastcnn train planets --out model',
    'fastcnn predict model new.jpg watch.jpg',
]
KEYS = 4 # are typed at a time: a browser lays out each line that there ever was
TYPED, READ, LAST = .03, 1.2, 6. # seconds: a key, what a command has said, the last screen
SHORT, FULL = .25, 4.5 # seconds: a screen at least, a running command at most; what takes longer is shown faster


def styled(screen, row):
    "The runs of one line that look alike: (text, cells, colour, whether bold); spaces at the end are left out"
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    while cells and not cells[-1].data.strip(): cells.pop()
    for look, run in groupby(cells, lambda cell: (cell.fg, cell.bold)):
        run = list(run)
        yield ''.join(cell.data for cell in run), len(run), *look


def shown(screen):
    "The lines of the screen, down to the last one that has something"
    lines = [tuple(styled(screen, row)) for row in range(max(screen.buffer, default=0) + 1)]
    while lines and not lines[-1]: lines.pop()
    return lines


def prompt(command): return f'\x1b[1;32m$\x1b[0m {command}'


def started(command, folder, env):
    "(process, its terminal) of a command that runs in a terminal of the recording's size"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(['bash', '-c', command], stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env, start_new_session=True)
    os.close(slave)
    return process, master


def output(command, folder, env):
    "The pieces that a command writes, each with the second at which it came"
    process, master = started(command, folder, env)
    begun = time.monotonic()
    while True:
        select.select([master], [], [])
        try: data = os.read(master, 65536)
        except OSError: data = b'' # Linux says so when the other end is closed
        if not data: break
        yield time.monotonic() - begun, data.replace(os.fsencode(folder), b'~') # a temporary place is nobody's business
    os.close(master)
    if process.wait(): sys.exit(f'record: this ended with {process.returncode}: {command}')


class Film:
    "The screens of a session, each with the seconds that it stays"
    def __init__(self):
        self.screen, self.shots = pyte.Screen(COLUMNS, TALL), []
        self.stream = pyte.Stream(self.screen)
        self.decode = codecs.getincrementaldecoder('utf-8')('replace').decode

    def feed(self, data): self.stream.feed(self.decode(data))

    def show(self, seconds):
        lines = shown(self.screen)
        if self.shots and self.shots[-1][0] == lines: seconds += self.shots.pop()[1]
        self.shots.append((lines, seconds))


def film_command(film, command, folder, env):
    "Type a command, run it, and film what it shows"
    film.feed(prompt('').encode())
    for at in range(0, len(command), KEYS):
        keys = command[at:at + KEYS]
        film.feed(keys.encode())
        film.show(TYPED*len(keys))
    film.feed(b'\r\n')
    pieces = list(output(command, folder, env))
    faster, since = max(1, pieces[-1][0]/FULL) if pieces else 1, 0
    for second, data in pieces:
        if second/faster - since >= SHORT: # what was on the screen until now
            film.show(second/faster - since)
            since = second/faster
        film.feed(data)
    film.show(READ)


def pictures(folder):
    "What the model is asked about: a planet that it has not seen, and no planet at all"
    from fastcnn.planets import nuisance_image, planet_image
    planet_image('saturn', 10**6).save(folder/'new.jpg', quality=90)
    nuisance_image('watch', 10**6).save(folder/'watch.jpg', quality=90)


def record():
    "The screens of all commands, in an empty folder with a cache of its own"
    film = Film()
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        pictures(folder)
        env = {name: value for name, value in os.environ.items() if name not in ('TQDM_DISABLE', 'NO_COLOR', 'CI')}
        env |= dict(FASTCNN_PROVIDER='planets', FASTCNN_PIXELS=str(folder/'.pixels'), TERM='xterm-256color', PYTHONPATH=str(ROOT),
                    PYTHONWARNINGS='ignore', PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
        for command in COMMANDS: film_command(film, command, folder, env)
    film.show(LAST)
    return film.shots


FONT, WIDTH, HEIGHT, EDGE, TOP = 14, 8.4, 20, 18, 44 # of a letter and its cell, around the text, above it: pixels
INK = dict(default='#d6deeb', black='#7f8c98', red='#ff7b72', green='#7ee787', brown='#f2cc60',
           blue='#79c0ff', magenta='#d2a8ff', cyan='#76e3ea', white='#f0f6fc')


def ink(colour):
    "A colour of the emulator: a name, or six digits"
    if len(colour) == 6 and set(colour) <= set('0123456789abcdef'): return f'#{colour}'
    return INK.get(colour.removeprefix('bright'), INK['default'])


def text_elements(line, row):
    "One line of the terminal"
    column = 0
    for text, cells, colour, bold in line:
        if text.strip():
            x, weight = round(EDGE + column*WIDTH, 1), ' font-weight="bold"'*bold
            yield (f'<text x="{x}" y="{TOP + row*HEIGHT + FONT}" textLength="{cells*WIDTH:.1f}" fill="{ink(colour)}"{weight}>'
                   f'{html.escape(text, quote=False)}</text>')
        column += cells


def stays(shots):
    "Each line as long as it stays: (row, line, its first second, the second that ends it)"
    now, since = 0, {}
    for lines, seconds in [*shots, ([], 0)]:
        for row in range(max(len(lines), len(since))):
            line = lines[row] if row < len(lines) else ()
            known, first = since.get(row, ((), 0))
            if known == line: continue
            if known: yield row, known, first, now
            since[row] = line, now
        now += seconds


def together(shots):
    "What comes and goes at the same time: ((its first second, the second that ends it), [(row, line), …]); a browser moves each by itself"
    found = {}
    for row, line, first, end in stays(shots): found.setdefault((round(first, 3), round(end, 3)), []).append((row, line))
    return found.items()


def moves(shots):
    "(second, rows that the window has moved down by then)"
    now, last = 0, None
    for lines, seconds in shots:
        down = max(0, len(lines) - ROWS)
        if down != last: yield now, down
        now, last = now + seconds, down


def film_svg(shots):
    "The picture: every line that was ever there, and when it is to be seen; by itself it shows the last screen"
    total = sum(seconds for _, seconds in shots)
    part = lambda second: f'{100*second/total:.3f}%'
    parts, frames = [], []
    for number, ((first, end), lines) in enumerate(together(shots)):
        at_last = end >= total - 1e-6
        steps = [(0, 'hidden'), (first, 'visible'), *[(end, 'hidden')]*(not at_last)]
        frames.append(f'@keyframes l{number}{{' + ''.join(f'{part(s)}{{visibility:{v}}}' for s, v in steps if s or first or v == 'visible') + '}')
        frames.append(f'#l{number}{{animation-name:l{number}}}')
        hidden = '' if at_last else ' visibility="hidden"'
        parts.append(f'<g id="l{number}"{hidden}>' + ''.join(element for row, line in lines for element in text_elements(line, row)) + '</g>')
    steps = list(moves(shots))
    frames.append('@keyframes down{' + ''.join(f'{part(s)}{{transform:translateY({-down*HEIGHT}px)}}' for s, down in steps) + '}#film{animation-name:down}')
    width, height = round(COLUMNS*WIDTH + 2*EDGE), ROWS*HEIGHT + TOP + EDGE
    told = html.escape('; '.join(COMMANDS))
    return f'''<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>A terminal in which fastcnn searches, cleans, trains and predicts</title>
<desc>{told}</desc>
<style>text{{font:{FONT}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
@media (prefers-reduced-motion:no-preference){{g g,#film{{animation:{total:.2f}s step-end infinite}}
{"".join(frames)}}}</style>
<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="10" fill="#0d1b2a" stroke="#415a77"/>
<circle cx="22" cy="20" r="6" fill="#ff7b72"/><circle cx="42" cy="20" r="6" fill="#f2cc60"/><circle cx="62" cy="20" r="6" fill="#7ee787"/>
<clipPath id="window"><rect x="0" y="{TOP - 1}" width="{width}" height="{ROWS*HEIGHT + 6}"/></clipPath>
<g clip-path="url(#window)"><g id="film" style="transform:translateY({-steps[-1][1]*HEIGHT}px)">
{chr(10).join(parts)}
</g></g>
</svg>
'''


if __name__ == '__main__':
    shots = record()
    PICTURE.write_text(film_svg(shots), encoding='utf-8')
    print(f'{PICTURE.relative_to(ROOT)}: {len(shots)} screens, {sum(seconds for _, seconds in shots):.0f} seconds, {PICTURE.stat().st_size//1024} KB')
