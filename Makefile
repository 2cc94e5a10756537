# Two commands for a newcomer: `make demo` and `make test`. Each sets itself up in .venv first.
.DEFAULT_GOAL := help
.PHONY: help install demo test check bench soak docs clean
PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## Moyai and its tools into .venv

$(STAMP): pyproject.toml constraints.txt scripts/install.sh
	@PYTHON="$(PYTHON)" sh scripts/install.sh
	@touch $(STAMP)

demo: install ## three sites, real jobs, the loss of a site, and the bill
	@$(BIN)/moyai demo

test: install ## the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: install ## style, types, arrows, docstrings
	@$(BIN)/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/interrogate src

bench: install ## the figures of the core, as a table
	@$(BIN)/python benchmarks/core.py

soak: install ## 100,000 seeded fault runs in the twin
	@$(BIN)/python -m moyai.twin soak --seeds 0..100000

clean: ## remove what the build made
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
