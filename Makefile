# Every target does its own set-up on a machine that has Python >= 3.11 and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := out/sample
# Byte code is made when a module is first imported: making all of it takes longer than all else together.
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-compile

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-all torture lint bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/user ## embed the sample corpus, then ask it three questions
	$(BIN)/embed-corpus run --config jobs/sample.toml
	@while read -r query; do echo; echo "$$query"; $(BIN)/embed-corpus search $(DEMO) "$$query" -k 3; done < jobs/sample-queries.txt

quick: .venv/dev ## run the tests that start no process and compute little: a minute
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not process and not heavy and not slow"

test: .venv/dev ## run all tests but the slow ones: under eight minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: .venv/dev ## run all tests, then the built wheel in an environment of its own
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python tests/wheel.py

torture: .venv/dev ## kill, stop, starve and unplug runs, edit their sources, for three quarters of an hour; power cuts need root
	PYTHONPATH=tests $(BIN)/python -m torture
	PYTHONPATH=tests $(BIN)/python -m edits 500
	$(BIN)/python -m pytest -s tests/torture_signals.py

lint: .venv/dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev ## compare with sentence-transformers on this machine's CPU
	$(BIN)/python benchmarks/cpu.py

clean: ## remove the environments and the demo's result
	rm -rf .venv .venv-wheel $(DEMO)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --upgrade 'pip>=25.1'  # the first to know dependency groups

.venv/user: pyproject.toml | .venv/bin/python
	$(BIN)/python $(PIP_INSTALL) --editable '.[demo,index]'
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python $(PIP_INSTALL) --editable '.[demo,index]' --group dev
	@touch $@ .venv/user
