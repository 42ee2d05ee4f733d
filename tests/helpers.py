"What several files of tests need: a process that runs code, a picture, a table to compare"
import io, subprocess, sys
import numpy as np, pandas as pd
from PIL import Image


def run_python(code, python=sys.executable, **kwargs):
    "A Python process that runs `code`"
    return subprocess.Popen([python, '-W', 'ignore', '-c', code], **kwargs)


def picture(seed):
    "The bytes of a small JPEG"
    out,noise = io.BytesIO(),np.random.default_rng(seed).integers(0, 255, (16, 16, 3), np.uint8)
    Image.fromarray(noise).save(out, 'JPEG')
    return out.getvalue()


IGNORED = ['seconds', 'date']


def table(path, by):
    "A study's rows in a fixed order, without what a clock has written"
    df = pd.read_csv(path, dtype=str)
    return df.drop(columns=[c for c in IGNORED if c in df]).sort_values(by).reset_index(drop=True)


def open_page(browser, url, **kwargs):
    """
    A new page at `url`; what it asks of other hosts is refused, as on a train, and kept in `page.refused`

    What its scripts complain of is kept in `page.errors`.
    """
    page = browser.new_context(**kwargs).new_page()
    page.refused,page.errors = [],[]
    def complain(message):
        if message.type=='error': page.errors.append(message.text)
    page.on('pageerror', lambda error: page.errors.append(str(error)))
    page.on('console', complain)
    def refuse(route):
        page.refused.append(route.request.url)
        route.abort()
    page.route(lambda u: not u.startswith('http://127.0.0.1'), refuse)
    page.goto(url, wait_until='load')
    return page
