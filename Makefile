# Everything sets itself up: `make lab` and `make test` work on a fresh clone
# with python3 (3.11 or newer), git and make. uv is used when it is there.

VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
# Most of a test run is waiting for real things, so four share two cores well.
JOBS   ?= 4
READY  := $(VENV)/.ready
RESEARCH := $(VENV)/.research
COMPILE := --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header

.PHONY: help setup lab test lint format bench docs research lock browser hub clean

help: ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: $(READY) ## build .venv with everything pinned

# Pinned by hash and byte-compiled: without bytecode the first import of pandas takes four times as long.
$(READY): requirements/lock.txt pyproject.toml hatch_build.py breeze_lab/_reader.c $(wildcard extensions/kernel/*) $(wildcard extensions/breeze_lab_server/jupyter-config/*) $(wildcard extensions/labextension/* extensions/labextension/static/*)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Breeze Lab needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@echo "Setting up $(VENV): about a minute, once."
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/lock.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@$(BIN)/python -m compileall -q breeze_lab extensions
	@touch $@

lab: $(READY) ## open JupyterLab at notebooks/00_start_here.ipynb, practice market connected
	@$(BIN)/breeze-lab lab --folder notebooks $(ARGS)

test: $(READY) browser research ## run every test, four files at a time (about fifteen minutes)
	@$(BIN)/python tests/second_look.py -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(READY) ## let ruff rewrite what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(READY) ## run the benchmarks, quickly
	@$(BIN)/python -m benchmarks startup --quick
	@$(BIN)/python -m benchmarks practice --quick
	@$(BIN)/python -m benchmarks relay --quick

docs: $(READY) ## build the documentation into site/; open site/index.html
	@$(BIN)/properdocs build --quiet --strict

research: $(RESEARCH) ## add bt, for the notebook with the back-test (200 MB)

$(RESEARCH): requirements/research.txt $(READY)
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r $< ; \
	else \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< ; \
	fi
	@touch $@

# The browser tests need a Chromium. One that is installed is used; otherwise
# Debian's as root, or Playwright's own download.
browser: $(READY)
	@$(BIN)/python tests/chromium.py --install

lock: ## pin all dependencies anew (needs uv)
	@uv pip compile $(COMPILE) pyproject.toml --extra dev --extra build --upgrade -o requirements/lock.txt
	@uv pip compile $(COMPILE) pyproject.toml --extra build -c requirements/lock.txt -o requirements/runtime.txt
	@uv pip compile $(COMPILE) pyproject.toml --extra research -c requirements/lock.txt --upgrade -o requirements/research.txt
	@uv pip compile $(COMPILE) requirements/hub.in -c requirements/lock.txt --upgrade -o requirements/hub.txt
	@echo jupyterhub | uv pip compile $(COMPILE) - -c requirements/lock.txt -c requirements/hub.txt -o requirements/hub-user.txt

# A JupyterHub and its proxy in .hub, beside what is tested everywhere; needs Node.js and npm.
.hub/.ready: requirements/hub.txt docker/hub/proxy/package-lock.json $(READY)
	@$(BIN)/python tests/hub_environment.py
	@touch $@

hub: .hub/.ready browser ## test the Hub: JupyterHub, its proxy, two people in Chromium (about eight minutes)
	@$(BIN)/python -m pytest -m hub $(ARGS)

clean: ## remove what the targets made
	rm -rf $(VENV) breeze_lab/*.so .hub dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
