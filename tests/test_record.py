"The recording of the README: the commands of its script, as text that moves"
import re
from xml.etree import ElementTree

import record


def test_the_recording_is_of_its_script():
    "Each command, and all that was there before the last one, is a text in the picture; it is small, and moves for nobody who minds"
    picture = record.PICTURE.read_text(encoding='utf-8')
    root = ElementTree.fromstring(picture)
    told = [''.join(part.itertext()) for part in root.iter('{http://www.w3.org/2000/svg}g') if part.get('id', '').startswith('l')]
    assert all(f'$ {command}' in told for command in record.COMMANDS)
    assert len(picture) < 500_000 and '@keyframes' not in picture.partition('@media (prefers-reduced-motion:no-preference){')[0]
    assert not re.search(r'/(?:tmp|home|root|work)/', picture), 'a place of the machine that made it'


def film_of(*pieces):
    "What the last screen of a film shows"
    film = record.Film()
    for piece in pieces:
        film.feed(piece)
        film.show(1)
    return film


def test_a_line_is_seen_for_as_long_as_it_stays():
    "A bar that is drawn over, a colour, a letter in two pieces; the same screen twice is one screen"
    film = film_of(b'10%', b'\r20%', b'', '\r\n\x1b[32mé'.encode()[:-1], 'é'.encode()[-1:])
    shown = [(row, ''.join(text for text, *_ in line), first, end) for row, line, first, end in record.stays(film.shots)]
    assert shown == [(0, '10%', 0, 1), (0, '20%', 1, 5), (1, 'é', 4, 5)]
    assert film.shots[-1][0][1] == (('é', 1, 'green', False),)
    assert list(record.moves([([()]*record.ROWS, 2), ([()]*(record.ROWS + 3), 1)])) == [(0, 0), (2, 3)]
