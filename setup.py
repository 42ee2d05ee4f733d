"Package data for setuptools, from the one place that holds it: settings.ini"
import os, re
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import FileList

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
lib = cfg['lib_name']


def absolute(path):
    "Where a file of the repository is on the network: a notebook as a page of the book, any other in the repository"
    if path.endswith('.ipynb'): return f"{cfg['doc_host']}{cfg['doc_baseurl']}/{path.removesuffix('.ipynb')}.html"
    kind = 'raw' if path.endswith(('.png', '.svg', '.jpg', '.gif')) else 'blob'
    return f"{cfg['git_url']}/{kind}/{cfg['branch']}/{path}"


def absolute_links(text):
    "The README as PyPI shows it: links and images, in Markdown and in HTML, that work anywhere"
    relative = r"""(\]\(|(?:href|src)=["'])(?![a-z]+:|#)([^)"'#\s]+)"""
    return re.sub(relative, lambda m: m[1]+absolute(m[2]), text)


def asked(*kinds):
    "What these kinds of users need: lists of settings.ini, one after the other"
    return ' '.join(cfg[f'{k}_requirements'] for k in kinds).split()


def packed():
    "The tables and scores that travel with the package: what MANIFEST.in takes from `results`, by name"
    found = FileList()
    for line in (here/'MANIFEST.in').read_text(encoding='utf-8').splitlines():
        if line and not line.startswith('#'): found.process_template_line(line)
    names = {f.replace(os.sep, '/') for f in found.files}
    return sorted(n for n in names if n.startswith('results/'))


def pack(dest):
    "Write the archive of the tables and scores: the same files make the same bytes, whenever and wherever it is made"
    with ZipFile(dest, 'w') as z:
        for name in packed():
            info = ZipInfo(name.removeprefix('results/'))
            info.compress_type = ZIP_STORED if name.endswith('.npz') else ZIP_LZMA
            info.create_system,info.external_attr = 3,0o100644<<16
            z.writestr(info, (here/name).read_bytes())


class build_library(build_py):
    "All modules but nbdev's index of links, which only nbdev reads; and the tables, where the checkout is left behind"
    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        return [m for m in modules if m[1]!='_modidx']

    def run(self):
        super().run()
        if not self.editable_mode: pack(Path(self.build_lib)/lib/'results.zip')


setup(
    name=lib,
    version=cfg['version'],
    description=cfg['description'],
    long_description=absolute_links((here/'README.md').read_text(encoding='utf-8')),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    license='Apache-2.0',
    keywords=cfg['keywords'],
    packages=find_packages(include=[lib, f'{lib}.*'], exclude=[f'{lib}.benchmarks', f'{lib}.benchmarks.*']),
    package_data={lib: ['paper_tables.csv', 'studies.json', '*.pyi', 'py.typed']},
    cmdclass={'build_py': build_library},
    python_requires='>=' + cfg['min_python'],
    install_requires=cfg['requirements'].split(),
    extras_require=dict(book=asked('book'), cluster=asked('book', 'cluster'), offline=asked('offline'),
                        onnx=asked('onnx'), dev=asked('book', 'onnx', 'dev')),
    entry_points={'console_scripts': cfg['console_scripts'].split()},
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: ' + cfg['audience'],
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Typing :: Typed',
    ],
    project_urls={'Book': cfg['doc_host']+cfg['doc_baseurl'], 'Source': cfg['git_url']},
)
