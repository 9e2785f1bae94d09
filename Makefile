# Two commands do everything: `make demo` and `make test`. They make their own environment first.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/python/optimize/newsletter.py

.PHONY: demo test check lint types layers test-quick setup setup-dev sandbox vsix clean

demo: setup  ## run the main job offline with the built-in rules on a shipped example
	@$(BIN)/perforch optimize $(EXAMPLE)::recipients

test: setup-dev  ## all tests
	@$(BIN)/pytest

check: setup-dev lint types layers  ## what to run all the time: about two minutes
	@$(BIN)/pytest -m "not slow"

lint:
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types:
	@$(BIN)/mypy

layers:
	@$(BIN)/lint-imports

setup: $(VENV)/.installed sandbox

setup-dev: $(VENV)/.installed-dev sandbox

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "PerfOrch needs Python 3.11 or later; install it and run make again (PYTHON=/path/to/python3 names one)"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { echo "The venv module is missing; as root: apt-get install python3-venv"; exit 3; }
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.python
	@echo "installing PerfOrch into $(VENV) ..." >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

sandbox:
	@sh scripts/install-sandbox.sh

clean:
	rm -rf $(VENV) build dist *.egg-info

test-workbench: setup-dev  ## VS Code's real workbench in a headless browser: installs 1 GB into a cache folder, runs for minutes
	@sh scripts/install-editors.sh
	@PERFORCH_EDITORS=all $(BIN)/pytest -m workbench tests/editors

.PHONY: vsix vscode-test test-workbench

vsix: client/vscode/node_modules/.installed  ## pack the VS Code extension into client/vscode/build/perforch.vsix
	@cd client/vscode && npm run -s package

vscode-test: client/vscode/node_modules/.installed  ## the extension's types and unit tests, without VS Code
	@cd client/vscode && npm run -s check && npm run -s test

client/vscode/node_modules/.installed: client/vscode/package-lock.json
	@command -v npm >/dev/null || { echo "The extension is built with npm; install Node.js 20 or later and run make again"; exit 3; }
	@cd client/vscode && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@
