# Set-up happens once, by itself, before the first command that needs it. Needs Python 3.11 or newer.
# It is the only step that needs a network.

VENV   ?= .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.set-up
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow check format bench tensorboard app clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## a virtual environment with all packages, once

$(STAMP): pyproject.toml .ci/setup
	@bash .ci/setup "$(VENV)"
	@touch $@

train: $(STAMP) ## a model on synthetic capsules, in minutes; ARGS="..." adds settings
	$(PYTHON) train.py experiment=quickstart $(ARGS)

test: $(STAMP) ## the tests, on all cores; ARGS="-n 0 <file>" runs one file
	$(PYTHON) -m pytest $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes
	$(PYTHON) -m pytest -m slow $(ARGS)

check: $(STAMP) ## lint, imports and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(PYTHON) -m mypy

format: $(STAMP) ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(STAMP) ## speed and memory, as ratios; nothing else should run meanwhile
	$(PYTHON) benchmarks/run.py $(ARGS)

tensorboard: $(STAMP) ## browse the curves of all runs
	$(VENV)/bin/tensorboard --logdir outputs $(ARGS)

app: $(STAMP) ## a local page for single images; ARGS="run=..." names the run
	$(PYTHON) app.py $(ARGS)

clean: ## remove the environment, rendered data and caches, but not outputs/
	rm -rf $(VENV) data .mypy_cache .ruff_cache .pytest_cache build
