# Two commands for a newcomer: `make demo` and `make test`. Each sets itself up in .venv first.
.DEFAULT_GOAL := help
.PHONY: help install engines ray demo test check bench soak docs clean
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

engines: install ## what the tests of real engines need: Slurm, PostgreSQL, sshd by apt, Ray in .ray
	@sh scripts/engines.sh

ray: install ## Ray alone, in .ray
	@sh scripts/engines.sh ray

test: engines ## the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist worksteal --ignore tests/engines
	@$(BIN)/python -m pytest tests/engines  # one by one: whole clusters side by side would only wait for each other

check: install ## style, types, arrows, docstrings
	@$(BIN)/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/interrogate src

bench: install ## the figures of the core, as a table
	@$(BIN)/python benchmarks/core.py

soak: engines ## 100,000 seeded fault runs in the twin, then ten minutes of kills under 10,000 real jobs
	@$(BIN)/python -m moyai.twin soak --seeds 0..100000
	@$(BIN)/python tests/engines/faults/soak.py --jobs 10000 --minutes 10

clean: ## remove what the build made
	rm -rf .venv .ray .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
