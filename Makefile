# The commands of this repository; `make` lists them.
# Each makes what it needs first, so any of them may be the first on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A CA to test with, which may want other versions of what certctl uses.
TOOLS := $(VENV)/acme2certifier
TOOLS_INSTALLED := $(TOOLS)/.installed

# Tests wait for servers more than they compute, so several run at once; servers are started
# once for each worker, hence the bound. For one file: make test PYTEST_ARGS='-v tests/real/test_lab.py'
PYTEST_ARGS ?= --numprocesses=auto --maxprocesses=4 --dist=worksteal

.DEFAULT_GOAL := help
.PHONY: help venv demo packages tools test crash check lint types format bench soak clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## the virtual environment in .venv, with certctl in it

# Rebuilt in place when the dependencies change. Dependency groups need a recent pip.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --editable . --group dev
	@$(BIN)/python -m compileall -q certctl tests  # also where Python is told to write no bytecode
	@touch $@

demo: $(INSTALLED) ## watch certctl obtain, serve, renew and revoke certificates, all on this machine
	@$(BIN)/certctl demo

packages: ## the Debian packages that tests need: installed as root on Debian, named elsewhere
	@scripts/install-test-packages

tools: $(TOOLS_INSTALLED) ## acme2certifier, a CA that tests run, in a virtual environment of its own

$(TOOLS_INSTALLED): packaging/acme2certifier.txt | $(INSTALLED)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --retries 5 --requirement packaging/acme2certifier.txt
	@touch $@

test: $(INSTALLED) packages tools ## all tests
	$(BIN)/pytest $(PYTEST_ARGS)

crash: $(INSTALLED) packages ## a kill and each I/O error at every system call (about twenty minutes; make test tries a few)
	CRASH_POINTS=all $(BIN)/pytest $(PYTEST_ARGS) -rP tests/crash

check: lint types test ## what must pass before a commit: format, lint, types, tests

lint: $(INSTALLED) ## formatting and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(INSTALLED) ## mypy
	$(BIN)/mypy

format: $(INSTALLED) ## format the code, and fix what can be fixed
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED) packages ## the figures of the README, measured on this machine
	$(BIN)/python bench/run.py
	$(BIN)/python bench/renewals.py
	$(BIN)/python bench/dns01.py
	$(BIN)/python bench/counts.py

soak: $(INSTALLED) ## renew 200 certificates of 30 seconds for minutes, under faults and kills
	$(BIN)/python bench/soak.py 180
	$(BIN)/python bench/soak.py 120 --at-once 3

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
