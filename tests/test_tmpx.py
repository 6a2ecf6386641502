from test_docs import *
def test_fewpages(page, address, site, axe):
    out=[]
    files=[file.relative_to(site).as_posix() for file in sorted(site.rglob('*.html'))]
    for scheme,width in [('dark',390)]:
        page.emulate_media(color_scheme=scheme); page.set_viewport_size(dict(width=width, height=800))
        for n in files:
            page.goto(address+n)
            f=[*violations(page, axe), *page.evaluate(TOO_WIDE)]
            if f: out.append((n, scheme,width,f))
            open('/tmp/few.txt','w').write('\n'.join(map(repr,out)))
