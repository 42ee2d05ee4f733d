"The verdicts on the pages are those that the rows give now, and no page has any of its own"
import json, os, re, subprocess, sys
from pathlib import Path
import pytest
from finalbn_fastai.study import all_studies

NBS = Path(__file__).parent.parent/'nbs'


@pytest.fixture(scope='module')
def claims():
    from finalbn_fastai import claims
    return claims


def cells(page):
    "The code cells of a notebook"
    nb = json.loads((NBS/f'{page}.ipynb').read_text(encoding='utf-8'))
    return [c for c in nb['cells'] if c['cell_type']=='code']


def printed(page, source):
    "What the cell of a page with this source has printed, as Markdown"
    cell = next(c for c in cells(page) if ''.join(c['source']).endswith(source))
    return ''.join(cell['outputs'][0]['data']['text/markdown'])


def test_columns_are_known(claims):
    "Every column of every study's table is a setting or a score that claims can be made of"
    for study in all_studies().values(): claims._rows_as_text(study)


def test_chapters_show_the_verdicts_of_the_rows(claims):
    "Each chapter's table is what the judge says of `results/` now"
    for page in claims.PAGES:
        assert printed(page, f"verdicts('{page}')")==claims.verdicts(page).data, page


@pytest.mark.parametrize('page', ['index','30_verdicts'])
def test_cover_shows_the_same(claims, page):
    "The cover, and the page of all verdicts, have the same lines as the chapters"
    assert printed(page, 'cover_verdicts()')==claims.cover_verdicts().data


def test_every_verdict_is_on_the_cover_and_the_other_way_round(claims):
    "Sentence and verdict of each line of a chapter stand on the cover, and each of the cover's in its chapter"
    def lines(text): return [l for l in text.splitlines() if l.startswith('|') and '**' in l]
    def key(line):
        verdict,sentence,*_ = [c.strip() for c in line.strip('|').split('|')]
        return re.sub(r'\]\([\w.]+\)', '', sentence).lstrip('['),verdict
    cover = {key(l) for l in lines(printed('index', 'cover_verdicts()'))}
    chapters = set()
    for page in claims.PAGES:
        top = printed(page, f"verdicts('{page}')").partition('<details>')[0]
        chapters |= {key(l) for l in lines(top)}
    assert cover==chapters and len(cover)==len(claims.CLAIMS)


def test_no_page_has_words_of_its_own(claims):
    "The old words are gone, and no cell makes a verdict by itself"
    for page in [*claims.PAGES, 'index', '30_verdicts']:
        sources = '\n'.join(''.join(c['source']) for c in cells(page))
        assert not re.search(r'confirmed|not reproduced\b.*if|\'reproduced\' if', sources), page
        assert "'verdict':" not in sources, page


def test_a_broken_table_stops_the_build_in_one_line(tmp_path):
    "An unknown column is said in a line, and the exit status stops `make`"
    (tmp_path/'finding.csv').write_text('study,plant,f1_minorty\nfinding,apple,0.5\n')
    code = 'from finalbn_fastai.claims import check_claims; check_claims()'
    env = {**os.environ, 'FINALBN_RESULTS':str(tmp_path)}
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, capture_output=True, text=True)
    assert done.returncode and "column 'f1_minorty'" in done.stderr
    assert len(done.stderr.strip().splitlines())==1
