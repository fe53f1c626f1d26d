# All that a developer does, in a virtual environment that these targets make themselves.
# What is needed before: Python 3.11 or later, make, and (for the compiled loops) a C compiler.

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

# The first interpreter that is recent enough; a shim that starts nothing does not count.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$python; break; fi; done)

PIP := $(BIN)/python -m pip --disable-pip-version-check
BUILD := pyproject.toml setup.py $(wildcard src/angelia/core/_speedups.c)

# What the tests need of npm's packages; Node finds them there by NODE_PATH.
NODE := .venvs/node

.PHONY: help demo test peers autobahn browser lint types docs bench cover clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   run the main job against an embedded server, and print what it did"
	@echo "make test   run all tests (ARGS='-k name' for some)"
	@echo "make peers  install what the tests talk to and npm has (the rest is the system's)"
	@echo "make autobahn   the Autobahn test suite, where there is Python 2.7 (ARGS=--quick: a part)"
	@echo "make browser   a page in headless Chromium talks to our server over WebSockets"
	@echo "make lint   style, formatting, types, layers, news fragments"
	@echo "make docs   build the documentation into docs/_build/html"
	@echo "make cover  run all tests with coverage, by package; core needs 98 % of its branches"
	@echo "make bench  compare with other clients; see benchmarks/"
	@echo "make clean  remove what the other targets made"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "angelia needs Python 3.11 or later" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of extras that is installed.
$(VENV)/.cli: $(BUILD) | $(BIN)/python
	$(PIP) install -qq -e '.[cli,speedups]'
	@touch $@

$(VENV)/.dev: $(BUILD) | $(BIN)/python
	$(PIP) install -qq -e '.[dev]'
	@touch $@ $(VENV)/.cli

$(VENV)/.docs: $(BUILD) | $(BIN)/python
	$(PIP) install -qq -e '.[docs]'
	@touch $@

demo: $(VENV)/.cli
	$(BIN)/angelia demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

$(NODE)/.installed: $(wildcard tests/peers/node/*.json)
	mkdir -p $(NODE)
	cp $^ $(NODE)
	npm ci --prefix $(NODE) --ignore-scripts --no-audit --no-fund --no-update-notifier
	@touch $@

peers: $(NODE)/.installed

autobahn: $(VENV)/.dev
	$(BIN)/python tests/autobahn/run.py $(ARGS) || test $$? -eq 77

browser: $(VENV)/.dev
	ANGELIA_REQUIRE_PEERS=1 $(BIN)/python -m pytest tests/peers/test_browser.py

lint: $(VENV)/.dev types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/towncrier build --draft --version next > /dev/null

# Directory by directory: files of the same name (conftest.py) are modules of the same name.
types: $(VENV)/.dev
	$(BIN)/mypy src
	$(BIN)/mypy setup.py tools/*.py tests/*.py
	@for directory in $$(find tests -mindepth 1 -maxdepth 1 -type d | sort); do \
		test -z "$$(ls $$directory/*.py 2>/dev/null)" && continue; \
		echo mypy $$directory; $(BIN)/mypy $$directory || exit 1; \
	done

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The core runs twice, so that both twins of each compiled function count.
cover: $(VENV)/.dev
	$(BIN)/python -m pytest --cov --cov-report= $(ARGS)
	ANGELIA_PURE=1 $(BIN)/python -m pytest -q --cov --cov-append --cov-report= tests/core
	$(BIN)/python tools/coverage_by_package.py --core 98

# In an environment of its own, since it needs the clients that it compares with.
bench: | $(BIN)/python
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/run.py $(ARGS)
	@test -n "$(ARGS)" || .venv-bench/bin/python benchmarks/idle_server.py
	@test -n "$(ARGS)" || $(MAKE) --no-print-directory $(VENV)/.dev
	@test -n "$(ARGS)" || $(BIN)/python benchmarks/programs.py

clean:
	rm -rf $(VENV) .venvs .venv-bench build dist docs/_build src/*.egg-info src/angelia/core/*.so .coverage*
