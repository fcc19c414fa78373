# What developers, users and CI all run. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help serve demo test fuzz screenshots check bench lock clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.installed ## Run the service on http://127.0.0.1:8080, with a Postgres of its own under .rollbook/
	@exec $(BIN)/rollbook serve

demo: $(VENV)/.installed ## Watch a simulated directory provision 200 people (throwaway store, under 30 s)
	@exec $(BIN)/rollbook demo

test: $(VENV)/.installed-dev ## Run the tests
	@exec $(BIN)/python -m pytest --numprocesses auto --dist worksteal

fuzz: $(VENV)/.installed-dev ## Send 100,000 hostile requests to every address
	@FUZZ=100000 exec $(BIN)/python -m pytest tests/test_fuzz.py

screenshots: $(VENV)/.installed-dev ## Write pictures of the console's pages into screenshots/ (needs chromium)
	@exec $(BIN)/python -m pytest tests/screenshots.py

check: $(VENV)/.installed-dev ## Lint, check formatting, types and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed ## Measure the service against a bare Starlette server, and replay against COPY, as ratios
	@$(BIN)/rollbook bench
	@exec $(BIN)/rollbook bench replay

lock: $(VENV)/.installed-dev ## Pin the dependencies anew, with hashes, from the ranges in pyproject.toml
	$(BIN)/python -m pip install -qq uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra setup pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --constraint requirements.lock --extra dev pyproject.toml --output-file requirements-dev.lock

clean: ## Remove what was set up (.venv), never the data (.rollbook)
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "Rollbook needs Python 3.11 or newer; '$(PYTHON)' is not. Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "This Python cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "Setting up $(VENV), once ..."
	@$(PYTHON) -m venv $(VENV)

# The project's own code is linked in, not copied: an edit takes effect at the next start.
$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed
