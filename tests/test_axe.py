"""
axe-core on every page of the book: nothing serious or critical, on a wide light screen and on a dark telephone

Contrast takes axe most of its time, nine tenths of it in code. The colours of code come from one style sheet for all
pages, so they are looked at on a few pages, which between them have all kinds of code; everything else on all.
"""
import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers import open_page

SCREENS = {'light': 1280, 'dark': 390}
COLOURED = ['nbs/09_cli', 'nbs/01_metrics']
CONTRAST = 'color-contrast'


def violations(axe, page, context, options):
    "Rule, element and reason of what is serious or critical, and of headings that name nothing"
    options = {'resultTypes': ['violations'], **options}
    for rule in axe.run(page, context, options).response['violations']:
        if rule['impact'] not in ('serious', 'critical') and rule['id']!='empty-table-header': continue
        for node in rule['nodes']:
            yield f"{rule['id']} at {node['target']}: {node['failureSummary']}"


def on_page(axe, page, file, cover):
    "What is wrong with one page; what stands around the text is the same on all, and looked at on the cover"
    part = {'include': ['html' if file==cover else 'article']}
    yield from violations(axe, page, part, {'rules': {CONTRAST: {'enabled': False}}})
    coloured = part if file in COLOURED else {**part, 'exclude': ['div.highlight']}
    yield from violations(axe, page, coloured, {'runOnly': [CONTRAST]})


@pytest.mark.parametrize('scheme', SCREENS)
def test_pages_are_accessible(browser, site, toc, scheme):
    "Every page of the table of contents, in one tab"
    screen = {'width': SCREENS[scheme], 'height': 900}
    axe,found = Axe(),[]
    page = open_page(browser, f'{site}/{toc[0]}.html', viewport=screen, color_scheme=scheme, reduced_motion='reduce')
    for file in toc:
        page.goto(f'{site}/{file}.html', wait_until='load')
        found += [f'{file}: {what}' for what in on_page(axe, page, file, toc[0])]
    page.context.close()
    assert not found, '\n'.join(found[:20])


def test_axe_finds_what_is_wrong(browser, site, toc):
    "A picture without words, and words of hardly a colour, are found"
    page = open_page(browser, f'{site}/{toc[0]}.html', color_scheme='light')
    page.evaluate("""() => {
        document.querySelector('article').insertAdjacentHTML('beforeend',
            '<img src="_static/favicon.svg"><p style="color:#ccc;background:#fff">hardly</p>')
    }""")
    found = [what.split()[0] for what in on_page(Axe(), page, toc[0], toc[0])]
    page.context.close()
    assert sorted(found)==['color-contrast', 'image-alt']
