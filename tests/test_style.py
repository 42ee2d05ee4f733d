"One idea a line, measured: what the linters cannot say of notebooks and tests (`style_measures.py` prints the numbers)"
import ast, pytest
import style_measures as sm


@pytest.fixture(scope='module', params=['notebooks', 'tests'])
def found(request):
    "The measures of the notebooks' code cells, and of the tests"
    sources = dict(notebooks=sm.notebook_sources, tests=sm.test_sources)[request.param]()
    return sm.measure(sources)


def test_no_wide_line(found):
    "No line over 120 characters, comments and strings too"
    assert not sm.wide(found)


def test_few_semicolons(found):
    "One statement a line"
    assert found['semicolons'] < 20


def test_few_double_comprehensions(found):
    "One `for` in a comprehension, unless two are one thought"
    assert sm.double_share(found) < .05


def test_small_statements(found):
    "99 % of the statements have fewer than 30 expressions"
    numbers = found['expressions']
    assert sum(n < 30 for n in numbers)/len(numbers) >= .99


@pytest.mark.parametrize('source,n', [
    ('a = f(b) + 1', 6),
    ('if a: return f(b)', 1),
    ('@d\ndef f(a, b:int=1)->str: return a+b', 4),
    ('for x in y: pass', 2),
    ('[x for x in y if x]', 5),
    ('f(a, key=b)', 4),
    ('try: f(x)\nexcept E: pass', 1),
])
def test_expressions_are_counted(source, n):
    "A statement's own expressions, not those of the statements below it"
    assert sm.count_expressions(ast.parse(source).body[0])==n


def test_measures():
    "What must be found is found, and what looks like it is not"
    comprehensions = ['c = [[d for d in e] for e in f]', 'g = {h for h in a}']
    lines = ['!pip install x', "a = 1; b = ';'", *comprehensions, 'import i', '', '#'*121]
    found = sm.measure(['\n'.join(lines)])
    assert found['semicolons']==1
    assert found['comprehensions']==[2, 1, 1] and sm.double_share(found)==1/3
    assert sm.wide(found)==['#'*121]
    assert len(found['lines'])==6 and len(found['expressions'])==4
