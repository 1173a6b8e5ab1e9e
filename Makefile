# Set-up happens once, by itself, before the first command that needs it. Needs Python 3.11 or newer.
# It is the only step that needs a network. What trains, predicts and runs the app is installed first;
# tests, checks and benchmarks add the rest.

VENV   ?= .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.set-up
DEV    := $(VENV)/.set-up-dev
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev train test test-slow check docs format bench tensorboard app clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## a virtual environment with what training and the app need, once

$(STAMP): pyproject.toml .ci/setup .ci/without-gpu.txt
	@bash .ci/setup "$(VENV)" app,imagenet
	@touch $@

setup-dev: $(DEV) ## and what tests, checks, exports and benchmarks need

$(DEV): $(STAMP)
	@bash .ci/setup "$(VENV)" dev
	@touch $@

train: $(STAMP) ## a model on synthetic capsules, in minutes; ARGS="..." adds settings
	$(PYTHON) train.py experiment=quickstart $(ARGS)

test: $(DEV) ## the tests, on all cores; ARGS="-n 0 <file>" runs one file
	$(PYTHON) -m pytest $(ARGS)

test-slow: $(DEV) ## the tests that take minutes
	$(PYTHON) -m pytest -m slow $(ARGS)

check: $(DEV) ## lint, imports and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(PYTHON) -m mypy

docs: $(DEV) ## the documentation site, in build/docs/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet $(ARGS)

format: $(DEV) ## format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(DEV) ## speed and memory, as ratios; nothing else should run meanwhile
	$(PYTHON) benchmarks/run.py $(ARGS)

tensorboard: $(STAMP) ## browse the curves of all runs
	$(VENV)/bin/tensorboard --logdir outputs $(ARGS)

app: $(STAMP) ## a local page for single images; ARGS="run=..." names the run
	$(PYTHON) app.py $(ARGS)

clean: ## remove the environment, rendered data and caches, but not outputs/
	rm -rf $(VENV) data .mypy_cache .ruff_cache .pytest_cache build
