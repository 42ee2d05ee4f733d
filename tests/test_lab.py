"The lab: its script in node, against PyTorch, NumPy, Python and scikit-learn; its page in a browser"
import json, random, shutil
import numpy as np, pandas as pd, pytest, torch
from fastai.torch_core import set_seed
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score
from finalbn_fastai.digits import digit_dls, imbalanced_split, mnist
from finalbn_fastai.lab import in_double, lab_digits
from finalbn_fastai.networks import fc_net
from helpers import open_page

USUAL = dict(seed=0, rare=4, epochs=100, lr=1e-3, momentum=.01)


@pytest.fixture(scope='module')
def node(root, run, tmp_path_factory):
    "A function that runs JavaScript, which sees the script as `lab`, its digits as `pool`, and what it is given"
    if not shutil.which('node'): pytest.skip('no node here: install it (Debian: apt-get install nodejs)')
    digits = tmp_path_factory.mktemp('lab')/'digits'
    lab_digits().tofile(digits)
    script,file = (json.dumps(str(path)) for path in (root/'_static/lab.js', digits))
    begin = f"const lab = require({script}), pool = new Uint8Array(require('fs').readFileSync({file}))"

    def _node(code, given=None):
        "What the body `code` of a function of `given` returns"
        call = f'console.log(JSON.stringify((given => {{{code}}})({json.dumps(given)})))'
        done = run('node', '-e', f'{begin}\n{call}')
        assert done.returncode==0, done.stderr
        return json.loads(done.stdout)
    return _node


def raced(node, **settings):
    "What both networks say of the test images in the end, margins `(2,200)`, and their classes"
    code = """
        let last
        for (last of lab.race(pool, given)) continue
        return [last.margins.map(margins => [...margins]), [...last.y]]"""
    margins,y = node(code, {**USUAL, **settings})
    return np.array(margins),np.array(y)


@pytest.mark.parametrize('seed', [0, 1, 2, 4_000_000_000])
def test_python_and_numpy_draw_the_same(node, seed):
    "The generators give what Python's and NumPy's give, whatever the seed"
    code = """
        const python = new lab.PythonRandom(given), numpy = new lab.NumpyRandom(given)
        const drawn = [python.word(), python.shuffled(404), python.word(), python.shuffled(800)]
        return [drawn, numpy.permutation(500), numpy.permutation(33)]"""
    python,numpy = random.Random(seed),np.random.default_rng(seed)
    def word(): return python.randint(0, 2**32-1)
    drawn = [word(), python.sample(range(404), 404), word(), python.sample(range(800), 800)]
    assert node(code, seed)==[drawn, numpy.permutation(500).tolist(), numpy.permutation(33).tolist()]


def in_pool(y):
    "For each of all digits, its place among those of the lab; -1 for one of another class"
    place = np.full(len(y), -1)
    place[np.r_[np.flatnonzero(y==8), np.flatnonzero(y==3)]] = range(1000)
    return place


@pytest.mark.parametrize('seed,rare', [(0, 4), (1, 4), (2, 40), (17, 400)])
def test_the_same_images(node, seed, rare):
    "A seed draws the images that `imbalanced_split` draws, in its order"
    y = mnist('embedded').y
    train,test = (in_pool(y)[idx].tolist() for idx in imbalanced_split(y, 3, 8, ratio=rare/400, seed=seed))
    drawn = node('return lab.draw(pool, given.rare, given.seed)', dict(rare=rare, seed=seed))
    assert drawn==dict(train=train, test=test)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_same_weights_and_batches(node, seed):
    "The network begins as PyTorch's, bit for bit, and sees its batches in the order of fastai's loader"
    code = """
        const net = new lab.Net(given, true, .01), turned = []
        for (let j = 0; j<128; j++) for (let p = 0; p<784; p++) turned.push(net.w1.value[p*128+j])
        let rng = new lab.PythonRandom(given)
        const orders = [0, 1, 2].map(() => (rng = new lab.PythonRandom(rng.word())).shuffled(404))
        return [[turned, ...[net.b1, net.w2, net.b2].map(part => [...part.value])], orders]"""
    weights,orders = node(code, seed)
    set_seed(seed)
    for here,there in zip(weights, fc_net().parameters(), strict=True): assert here==there.flatten().tolist()
    train = digit_dls(seed=seed, source='embedded').train
    train.dataset.tensors = torch.arange(404),torch.zeros(404)
    for order in orders: assert order[:384]==torch.cat([x for x,_ in train]).tolist()


@pytest.mark.parametrize('settings', [
    dict(seed=0), dict(seed=1), dict(seed=2), dict(seed=3, rare=40, lr=3e-3, momentum=.1), dict(rare=1, momentum=1.)])
def test_the_same_scores_as_pytorch(node, settings):
    "In double precision, PyTorch says of every test image what the script says, after 60 steps with fastai"
    margins,y = raced(node, epochs=10, **settings)
    named = {k:v for k,v in settings.items() if k!='rare'}
    ratio = settings.get('rare', 4)/400
    for n,bn in enumerate((False, True)):
        z,classes = in_double(bn, epochs=10, ratio=ratio, **named)
        assert y.tolist()==classes.tolist()
        assert np.abs(margins[n]-(z[:,1]-z[:,0]).numpy()).max() < 1e-8


def test_the_row_of_the_demo(node, root):
    "A whole race against the committed row of its seed, which is of single precision"
    margins,y = raced(node)
    rows = pd.read_csv(root/'results/demo.csv').query('seed==0').sort_values('final_bn')
    found = [int((m[y==1]>0).sum()) for m in margins]
    there = (100*rows.recall_minority).round().astype(int).tolist()
    assert found[0]==there[0]
    assert abs(found[1]-there[1]) <= 3
    assert roc_auc_score(y, margins[0])==pytest.approx(rows.roc_auc.iloc[0], abs=5e-4)


@pytest.mark.parametrize('share', [.5, .1, .01])
def test_scores_are_those_of_scikit_learn(node, share):
    "Recall, precision, F1 and the area under the curve, with ties and at any share of threes"
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], 100)
    margins = (rng.normal(size=200)+y).round(1)
    code = """
        const {margins, y, threshold, share} = given
        return [lab.scored(lab.counted(margins, y, threshold), share), lab.auc(margins, y)]"""
    for threshold in (-9, 0, .45, 9):
        called = margins>threshold
        asked = dict(margins=margins.tolist(), y=y.tolist(), threshold=threshold, share=share)
        scores,auc = node(code, asked)
        how = dict(sample_weight=np.where(y==1, share, 1-share), zero_division=0)
        there = dict(recall=recall_score, precision=precision_score, f1=f1_score)
        assert scores==pytest.approx({name:score(y, called, **how) for name,score in there.items()})
        assert auc==pytest.approx(roc_auc_score(y, margins))


def open_lab(browser, site, **kwargs):
    "The page of the lab, ready"
    page = open_page(browser, f'{site}/nbs/26_lab.html', **kwargs)
    page.wait_for_selector('.fbn-lab[data-ready]', timeout=60_000)
    return page


def cell(page, name): return page.inner_text(f'[data-lab="{name}"]')


def begin_race(page, expected=('60', '80')):
    "Predict and race, with the keyboard alone"
    page.focus('#lab-expected-0')
    page.keyboard.type(expected[0])
    page.keyboard.press('Tab')
    page.keyboard.type(expected[1])
    page.keyboard.press('Enter')


def wait_for_race(page, n=1, seconds=60):
    "Until the `n`-th race has ended"
    page.wait_for_selector(f'.fbn-lab[data-raced="{n}"]', timeout=1000*seconds)


def few_epochs(page):
    "Choose the fewest epochs there are"
    page.click('.fbn-lab summary')
    page.focus('#lab-epochs')
    page.keyboard.press('Home')


def test_race(browser, site, toc, root):
    "Predict, race for 100 epochs, compare; then threshold and share of threes, all with the keyboard"
    page = open_lab(browser, site)
    assert page.is_visible('[data-lab="live"]') and not page.is_visible('[data-lab="still"]')
    page.click('[data-lab="race"]')
    page.wait_for_timeout(300)
    assert not page.is_visible('progress') and not cell(page, 'news'), 'a race without a prediction'
    begin_race(page)
    wait_for_race(page, seconds=240)
    lab = page.locator('.fbn-lab')
    print(f"first picture after {lab.get_attribute('data-ready')} ms, race of {lab.get_attribute('data-seconds')} s")
    row = pd.read_csv(root/'results/demo.csv').query('seed==0 and not final_bn').iloc[0]
    found = round(100*row.recall_minority)
    assert cell(page, 'found-0')==str(found) and cell(page, 'auc-0')==f'{row.roc_auc:.3f}'
    assert f'{found} of 100 threes found, {60-found} fewer than you said' in cell(page, 'news')
    assert f'without final BN {found} found' in cell(page, 'python')
    kept = [cell(page, name) for name in ('auc-0', 'found-1', 'f1-1')]
    said = page.get_attribute('#lab-threshold-0', 'aria-valuetext')
    page.focus('#lab-threshold-0')
    for _ in range(50): page.keyboard.press('ArrowLeft')
    page.wait_for_function(f"document.querySelector('[data-lab=\"found-0\"]').textContent>{found+20}")
    assert page.get_attribute('#lab-threshold-0', 'aria-valuetext')!=said
    assert [cell(page, name) for name in ('auc-0', 'found-1', 'f1-1')]==kept
    page.focus('#lab-prevalence')
    page.keyboard.press('Home')
    page.wait_for_function(f"document.querySelector('[data-lab=\"f1-1\"]').textContent<{kept[2]}")
    assert [cell(page, name) for name in ('auc-0', 'found-1')]==kept[:2]
    page.focus('#lab-epoch')
    page.keyboard.press('Home')
    page.wait_for_function("document.querySelector('[data-lab=\"epoch-said\"]').textContent=='untrained'")
    cover = open_page(browser, f'{site}/{toc[0]}.html')
    assert not page.refused
    assert set(page.errors) <= set(cover.errors), "the lab's own, beside what the theme complains of"
    for p in (page, cover): p.context.close()


@pytest.mark.parametrize('motion', ['reduce', 'no-preference'])
def test_dots_move_for_who_likes_it(browser, site, motion):
    "Each epoch is drawn, or for readers who ask for stillness only the beginning and the end"
    page = open_lab(browser, site, reduced_motion=motion)
    few_epochs(page)
    page.evaluate("""() => {
        window.drawn = 0
        const dots = document.querySelectorAll('[data-lab="strip-1"] svg > path')[1]
        new MutationObserver(() => { drawn++ }).observe(dots, {attributes: true})
    }""")
    begin_race(page)
    wait_for_race(page)
    page.wait_for_timeout(300)
    drawn = page.evaluate('drawn')
    assert drawn<=2 if motion=='reduce' else drawn>2
    page.context.close()


def test_race_in_slices(browser, site):
    "Where there are no workers the page trains all the same; a race can be stopped, and the next one ends"
    page = browser.new_context().new_page()
    page.add_init_script('delete window.Worker')
    page.goto(f'{site}/nbs/26_lab.html', wait_until='load')
    page.wait_for_selector('.fbn-lab[data-ready]', timeout=60_000)
    begin_race(page)
    page.wait_for_selector('text=Stop')
    page.keyboard.press('Tab')
    page.click('[data-lab="race"]')
    page.wait_for_function("document.querySelector('[data-lab=\"news\"]').textContent=='Stopped.'")
    few_epochs(page)
    page.click('[data-lab="race"]')
    wait_for_race(page, 2)
    assert 'Trained for 5 epochs' in cell(page, 'news') and not cell(page, 'python')
    page.context.close()


def test_lab_fits_a_phone(browser, site):
    "No sideways scroll at 390 pixels, with everything unfolded and a race run"
    page = open_lab(browser, site, viewport=dict(width=390, height=844))
    few_epochs(page)
    begin_race(page, ('0', '100'))
    wait_for_race(page)
    assert page.evaluate('document.documentElement.scrollWidth') <= 391
    page.context.close()


@pytest.mark.parametrize('how', ['no scripts', 'paper'])
def test_lab_stands_still(browser, site, how):
    "Without scripts, and in print, there is a picture with words"
    page = open_page(browser, f'{site}/nbs/26_lab.html', java_script_enabled=how=='paper')
    if how=='paper':
        page.wait_for_selector('.fbn-lab[data-ready]', timeout=60_000)
        page.emulate_media(media='print')
    assert page.is_visible('[data-lab="still"]') and not page.is_visible('[data-lab="live"]')
    picture = page.locator('[data-lab="still"] img')
    assert 'threes are found' in picture.get_attribute('alt')
    assert picture.bounding_box()['height']>100
    page.context.close()
