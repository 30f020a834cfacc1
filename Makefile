# Development commands; `make` lists them.
# Each target builds its prerequisites, so any of them can be run first in a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A CA for tests; in a separate environment because its dependencies may conflict with certctl's.
TOOLS := $(VENV)/acme2certifier
TOOLS_INSTALLED := $(TOOLS)/.installed

# Tests mostly wait for servers, so four run at a time, even on two cores; each worker starts its own
# servers. For one file: make test PYTEST_ARGS='-v tests/real/test_lab.py'
PYTEST_ARGS ?= --numprocesses=4 --dist=worksteal

.DEFAULT_GOAL := help
.PHONY: help venv demo packages tools test crash fuzz check lint types format bench simulate soak deb docs image installs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(INSTALLED) ## create the virtual environment .venv and install certctl in it

# Rebuilt in place when the dependencies change. Dependency groups need a recent pip.
$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --retries 5 --editable . --group dev
	@$(BIN)/python -m compileall -q certctl tests  # even with PYTHONDONTWRITEBYTECODE
	@touch $@

demo: $(INSTALLED) ## watch certctl issue, deploy, renew and revoke certificates on this machine
	@$(BIN)/certctl demo

packages: ## install the Debian packages that tests need (as root on Debian; listed elsewhere)
	@scripts/install-test-packages

tools: $(TOOLS_INSTALLED) ## install acme2certifier, a CA used by tests, in a separate virtual environment

$(TOOLS_INSTALLED): packaging/acme2certifier.txt | $(INSTALLED)
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --retries 5 --requirement packaging/acme2certifier.txt
	@touch $@

test: $(INSTALLED) packages tools ## run all tests
	$(BIN)/pytest $(PYTEST_ARGS)

crash: $(INSTALLED) packages ## kill certctl, and inject each I/O error, at every system call (about twenty minutes; make test samples a few)
	CRASH_POINTS=all $(BIN)/pytest $(PYTEST_ARGS) -rP tests/crash

FUZZ_SECONDS ?= 300
fuzz: $(INSTALLED) ## try hostile input of every kind for FUZZ_SECONDS (300); make test tries some
	end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); while [ $$(date +%s) -lt $$end ]; do \
	  FUZZ_EXAMPLES=2000 CERTCTL_FUZZ_EXAMPLES=2000 $(BIN)/pytest -q --timeout=600 --numprocesses=2 tests/fuzz tests/integration/test_devca_fuzz.py || exit 1; \
	done

check: lint types test ## run everything that must pass before a commit: lint, types, test

lint: $(INSTALLED) ## check formatting and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(INSTALLED) ## check types with mypy
	$(BIN)/mypy

format: $(INSTALLED) ## format the code and apply automatic fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(INSTALLED) packages ## measure the figures in the README on this machine
	$(BIN)/python bench/run.py
	$(BIN)/python bench/renewals.py
	$(BIN)/python bench/apply.py
	$(BIN)/python bench/ari.py
	$(BIN)/python bench/many.py
	$(BIN)/python bench/dns01.py
	$(BIN)/python bench/counts.py

docs: $(INSTALLED) ## build the documentation as a site in build/site
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --config-file packaging/site/mkdocs.yml

deb: $(INSTALLED) ## build a Debian package in dist/, for the Debian release that runs here
	$(BIN)/python scripts/build-deb

image: deb ## build a container image in dist/, and try it (as root on Debian)
	PACKAGE_LIST=packaging/debian-packages-installs.txt scripts/install-test-packages
	scripts/build-image dist/certctl_*.deb

installs: image ## try every way to install certctl, each in a fresh environment (as root on Debian)
	scripts/try-tools
	scripts/try-deb dist/certctl_*.deb

simulate: $(INSTALLED) ## a year of hourly runs for a thousand certificates, with each lifetime
	$(BIN)/python bench/simulate.py

soak: $(INSTALLED) ## renew 200 certificates with a 30-second lifetime for minutes, with CA faults and killed runs
	$(BIN)/python bench/soak.py 180
	$(BIN)/python bench/soak.py 120 --at-once 3

clean: ## remove everything that these commands created
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
