"""
axe-core on every page of the book: nothing serious or critical, on a wide light screen and on a dark telephone

Nine tenths of what axe looks at is words of code. Their colours come from one style sheet and their blocks from one
theme, so code is looked at on a few pages, which between them have all kinds of it; everything else on all.
"""
from contextlib import suppress
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import TimeoutError
from helpers import open_page

WITH_CODE = ['nbs/09_cli', 'nbs/01_metrics']
WIDE,PHONE = {'width': 1280, 'height': 900},{'width': 390, 'height': 844}
# What a narrow, dark page can get wrong that a wide, light one has right
BY_SCREEN = {'runOnly': ['color-contrast', 'scrollable-region-focusable', 'link-in-text-block']}


def violations(axe, page, file, cover, **options):
    """
    Rule, element and reason of what is serious or critical, and of headings that name nothing

    What stands around the text is the same on all pages, and looked at on the cover.
    """
    part = {'include': ['html' if file==cover else 'article']}
    if file not in WITH_CODE: part['exclude'] = ['div.highlight']
    for rule in axe.run(page, part, {'resultTypes': ['violations'], **options}).response['violations']:
        if rule['impact'] not in ('serious', 'critical') and rule['id']!='empty-table-header': continue
        for node in rule['nodes']: yield f"{file}: {rule['id']} at {node['target']}: {node['failureSummary']}"


# The theme lets the keyboard scroll what is too wide, a third of a second after the screen has changed
REACHED = '''() => [...document.querySelectorAll('pre, .cell_output > .output, .pst-scrollable-table-container')]
    .every(e => e.tabIndex==0 || e.scrollWidth<=e.clientWidth)'''


def turn(page, scheme, size):
    "The same page on another screen"
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    page.wait_for_function(f"document.documentElement.dataset.theme=='{scheme}'")
    with suppress(TimeoutError): page.wait_for_function(REACHED, timeout=2000)


ALIKE = 'nbs/reference/'
OF_ALIKE = [f'{ALIKE}{name}' for name in ('index', 'head', 'training', 'studies')]


def is_looked_at(page):
    "Every page, but of those that one function writes only the longest and the odd"
    return not page.startswith(ALIKE) or page in OF_ALIKE


def test_pages_are_accessible(browser, site, toc):
    "The pages of the table of contents, in one tab"
    axe,found,cover = Axe(),[],toc[0]
    page = open_page(browser, f'{site}/{cover}.html', reduced_motion='reduce')
    for file in filter(is_looked_at, toc):
        page.goto(f'{site}/{file}.html', wait_until='load')
        turn(page, 'light', WIDE)
        found += violations(axe, page, file, cover)
        turn(page, 'dark', PHONE)
        found += violations(axe, page, file, cover, **BY_SCREEN)
    page.context.close()
    assert not found, '\n'.join(found)


def test_axe_finds_what_is_wrong(browser, site, toc):
    "A picture without words, and words of hardly a colour, are found"
    page = open_page(browser, f'{site}/{toc[0]}.html', color_scheme='light')
    page.evaluate("""() => {
        document.querySelector('article').insertAdjacentHTML('beforeend',
            '<img src="_static/favicon.svg"><p style="color:#ccc;background:#fff">hardly</p>')
    }""")
    found = [what.split()[1] for what in violations(Axe(), page, toc[0], toc[0])]
    page.context.close()
    assert sorted(found)==['color-contrast', 'image-alt']
