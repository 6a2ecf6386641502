"""The words of the field in the lessons: on the site, the first use of each shows its sentence of nbs/glossary.ipynb.

Done where the site is made, so that a notebook's text stays plain.
"""
import html, re

from fastcore.nbio import read_nb

from notebooks import NBS

PAGE = NBS/'glossary.ipynb'
ENTRY = re.compile(r'^- <span id="(?P<id>[\w-]+)"></span>\*\*(?P<term>[^*]+)\*\*(?: \((?P<also>[^)]+)\))?: (?P<told>.+)$', re.M)
UNTOUCHED = re.compile( # code, formulas, pictures and links, tags, headings, rows of tables, what is folded
    r'(?s:```.*?```|\$\$.*?\$\$|<details>.*?</details>|:::.*?:::)|`[^`]*`|\$[^$\n]+\$|!?\[[^]]*\]\([^)]*\)|<[^>]*>|^#+ .*$|^\|.*$|^> .*$', re.M)


def entries():
    "Word as it may stand in a text, in lower case → (anchor, sentence)"
    found = {}
    for cell in read_nb(PAGE).cells:
        for entry in ENTRY.finditer(cell.source) if cell.cell_type == 'markdown' else ():
            words = [entry['term'], *filter(None, re.split(', ', entry['also'] or ''))]
            found |= {word.lower(): (entry['id'], re.sub(r'[*`]', '', entry['told'])) for word in words}
    return found


def link_terms(nb, up, words):
    "Link the first use of each word on a page to its entry in the glossary, which lies `up`"
    word = re.compile(r'(?<![\w-])(' + '|'.join(sorted(map(re.escape, words), key=len, reverse=True)) + r')(?:s|es)?(?![\w-])', re.I)
    seen = set()
    def linked(found):
        anchor, told = words[found[1].lower()]
        if anchor in seen: return found[0]
        seen.add(anchor)
        return f'[{found[0]}]({up}glossary.ipynb#{anchor}){{.term data-told="{html.escape(told)}"}}'
    for cell in nb.cells:
        if cell.cell_type != 'markdown': continue
        parts, at = [], 0
        for kept in UNTOUCHED.finditer(cell.source):
            parts += [word.sub(linked, cell.source[at:kept.start()]), kept[0]]
            at = kept.end()
        cell.source = ''.join(parts) + word.sub(linked, cell.source[at:])
