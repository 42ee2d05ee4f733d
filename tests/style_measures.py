"How readable the lines of notebooks and tests are: `python tests/style_measures.py [repository]` prints a table"
import ast, io, json, re, sys, tokenize
from pathlib import Path
from statistics import quantiles

ROOT = Path(__file__).parent.parent
WIDTH = 120
COMPREHENSIONS = ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef


def code_cells(path, exported=False):
    "The sources of a notebook's code cells, or only of those that `nbdev_export` writes into a module"
    cells = json.loads(Path(path).read_text(encoding='utf-8'))['cells']
    sources = [''.join(c['source']) for c in cells if c['cell_type']=='code']
    if not exported: return sources
    return [s for s in sources if re.search(r'^#\|\s*export', s, re.M)]


def without_magics(source):
    "A cell as Python: a line for the shell or IPython becomes `pass`"
    return re.sub('^[!%].*$', 'pass', source, flags=re.M)


def code_lines(source):
    "The lines that are not empty"
    return [line for line in source.splitlines() if line.strip()]


def semicolons(source):
    "How many semicolons join or end statements; those in strings and comments do not count"
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(t.type==tokenize.OP and t.string==';' for t in tokens)


def says_something(statement):
    "Is there more to read than a docstring, an import or a `pass`?"
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Pass)): return False
    return not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))


def count_expressions(statement):
    """
    How many expressions one statement has: every `ast.expr` node of its own, outermost and inside.

    `a = f(b) + 1` has six: `a`, the sum, the call, `f`, `b` and `1`. Names, constants, calls, attributes, subscripts,
    operators, comprehensions, lambdas with their bodies, annotations, defaults and decorators count; the names of
    keywords and parameters do not. The statements of a body count for themselves: an `if` has its condition, a `def`
    its signature.
    """
    def inside(node):
        own = [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.stmt)]
        return sum(isinstance(c, ast.expr) + inside(c) for c in own)
    return inside(statement)


def count_fors(comprehension):
    "How many `for`s a comprehension holds, those of comprehensions inside it too"
    return sum(isinstance(node, ast.comprehension) for node in ast.walk(comprehension))


def measure(sources):
    "What is counted in sources: lines, semicolons, and a number for each comprehension, statement and function"
    found = dict(lines=[], semicolons=0, comprehensions=[], expressions=[], functions=[])
    for source in map(without_magics, sources):
        found['lines'] += code_lines(source)
        found['semicolons'] += semicolons(source)
        for node in ast.walk(ast.parse(source)):
            is_statement = isinstance(node, ast.stmt) and says_something(node)
            if is_statement: found['expressions'].append(count_expressions(node))
            if isinstance(node, COMPREHENSIONS): found['comprehensions'].append(count_fors(node))
            if isinstance(node, FUNCTIONS): found['functions'].append((node.end_lineno-node.lineno+1, node.name))
    return found


def wide(found):
    "The lines over 120 characters"
    return [line for line in found['lines'] if len(line) > WIDTH]


def double_share(found):
    "The share of comprehensions that hold two `for`s or more"
    numbers = found['comprehensions']
    return sum(n > 1 for n in numbers)/max(len(numbers), 1)


def percentile(values, p):
    "The `p`-th percentile"
    return quantiles(values, n=100, method='inclusive')[p-1]


def notebooks(root=ROOT):
    "The notebooks of the book"
    return sorted((root/'nbs').glob('*.ipynb'))


def notebook_sources(root=ROOT, exported=False):
    "The code cells of all notebooks"
    return sum((code_cells(nb, exported) for nb in notebooks(root)), [])


def test_sources(root=ROOT):
    "The Python files of the tests"
    return [p.read_text(encoding='utf-8') for p in sorted((root/'tests').glob('*.py'))]


def module_sizes(root=ROOT):
    "The exported lines of each notebook that makes a module, by its file's name"
    def size(nb): return len(code_lines('\n'.join(code_cells(nb, exported=True))))
    sizes = {nb.name: size(nb) for nb in notebooks(root)}
    return {name: n for name,n in sizes.items() if n}


def names_in_face(root=ROOT):
    "How many names the package offers without naming a module"
    sys.path.insert(0, str(root))
    import finalbn_fastai
    return len(finalbn_fastai.__all__)


def in_row(values, percentiles):
    "Percentiles as one cell of the table"
    return ' / '.join(f'{percentile(values, p):.0f}' for p in percentiles)


def column(found):
    "One column of the table: what is shown of each measure, by its name"
    lengths = [n for n,_ in found['functions']]
    longest,name = max(found['functions'])
    share_wide = len(wide(found))/len(found['lines'])
    return {
        'code lines': len(found['lines']),
        'over 120 characters': f'{share_wide:.1%}',
        'semicolons': found['semicolons'],
        'comprehensions with two `for`s or more': f'{double_share(found):.1%}',
        'expressions in a statement, 90 % / 99 %': in_row(found['expressions'], (90, 99)),
        'function length, median / 90 %': in_row(lengths, (50, 90)),
        'longest function': f'{longest} ({name})',
    }


def table(root=ROOT):
    "All measures as a Markdown table"
    exported,cells,tests = notebook_sources(root, exported=True),notebook_sources(root),test_sources(root)
    columns = [column(measure(sources)) for sources in (exported, cells, tests)]
    sizes = module_sizes(root)
    largest = max(sizes, key=sizes.get)
    rows = [['measure', 'exported', 'all cells', 'tests'], ['---']*4]
    for name in columns[0]: rows.append([name, *(c[name] for c in columns)])
    rows += [['modules', len(sizes), '', ''],
             ['largest module, lines', f'{sizes[largest]} ({largest})', '', ''],
             ["names in the package's face", names_in_face(root), '', '']]
    return '\n'.join('| ' + ' | '.join(map(str, row)) + ' |' for row in rows)


if __name__=='__main__':
    where = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT
    print(table(where))
