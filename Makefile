# The two commands of the README, and their parts. Everything happens in a virtual environment of its own.
PYTHON ?= python3
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
READY := $(VENV)/.ready
BUILD := jupyter-book build . -n -W --keep-going
# One line, and no book, where a claim has no rows to be judged by
CLAIMS := python -c 'from finalbn_fastai.claims import check_claims; check_claims()'
export PATH := $(BIN):$(PATH)
export PYTHONWARNINGS ?= ignore
# The real data, if there is a folder that has them: cells and tests that need them run only then
export FINALBN_DATA := $(if $(FINALBN_DATA),$(abspath $(FINALBN_DATA)))

.PHONY: help install lock book html pdf lint test export readme run-notebooks clean
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(READY) ## make the virtual environment and install everything into it
$(READY): settings.ini pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3,10) else "finalbn_fastai needs Python 3.10 or newer; this is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --upgrade pip
	@echo "Installing PyTorch, fastai, nbdev and Jupyter Book (several minutes the first time)"
	pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

lock: $(READY) ## after changing a requirement: write the versions that `make install` installs, for every Python and system
	pip install --quiet uv
	uv pip compile setup.py --universal --python-version 3.10 --all-extras --upgrade --quiet \
	  --no-annotate --custom-compile-command 'make lock' -o constraints.txt

book: $(READY) ## train the first chapter's comparison here and build the book with what comes out
	@$(CLAIMS)
	@mkdir -p _build/live
	@sed 's/execute_notebooks: "off"/execute_notebooks: "force"/' _config.yml > _build/live/_config.yml
	@echo "Training the comparison of the first chapter, live (about a minute), and building the book"
	@rm -rf _build/live/_build
	$(BUILD) --config _build/live/_config.yml --path-output _build/live
	@test -f _build/live/_build/html/index.html || { echo "The book was not built: index.html is missing"; exit 1; }
	@echo "The book: $(CURDIR)/_build/live/_build/html/index.html"

html: $(READY) ## build the book from the committed outputs, nothing trained
	@$(CLAIMS)
	@rm -rf _build/html _build/.doctrees
	$(BUILD)
	@test -f _build/html/index.html || { echo "The book was not built: index.html is missing"; exit 1; }
	@echo "The book: $(CURDIR)/_build/html/index.html"

pdf: html ## the whole book as one PDF, printed by Chromium from the built pages
	@python -c 'from finalbn_fastai.pdf import book_pdf; book_pdf()'
	@echo "The book: $(CURDIR)/_build/finalbn_fastai.pdf"

lint: $(READY) ## the linters over the notebooks and the tests
	ruff check nbs tests setup.py
	chkstyle nbs tests

test: lint html ## every test: the linters, beside the code, the command line, the packaging, the built book
	nbdev_test --n_workers 2 --flags "slow offline $(if $(FINALBN_DATA),data)"
	pytest -n 2 --dist loadfile

export: $(READY) readme ## after editing a notebook: export the library and its stub, clean the notebooks, write the README
	nbdev_export
	@python -c 'from finalbn_fastai.book import write_stub; write_stub()'
	@python -c 'from finalbn_fastai.settings import write_studies; write_studies()'
	@python -c 'from finalbn_fastai.reference import write_pages; write_pages()'
	nbdev_clean

readme: $(READY)
	@python -c 'from finalbn_fastai.book import readme; readme()'

run-notebooks: $(READY) ## run every notebook top to bottom and keep its outputs
	cd nbs && jupyter execute --inplace --timeout=900 *.ipynb
	nbdev_clean

clean: ## remove what was built (not the virtual environment)
	rm -rf _build build dist *.egg-info
