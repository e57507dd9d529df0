# The same jobs as CI runs, one target each.
PYTHON ?= .venv/bin/python

.PHONY: help lint typecheck test build

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

lint:  ## ruff: style, imports, docstrings, formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

typecheck:  ## mypy --strict over the package and its tests
	mkdir -p .typing/tagstack
	ln -sfn ../../__init__.py ../../__main__.py ../../api.py ../../cli.py ../../py.typed ../../base_models ../../configs ../../ensemble ../../meta .typing/tagstack/
	ln -sfn ../tests .typing/tests
	$(PYTHON) -m mypy

test:  ## the README's test command
	$(PYTHON) -m pytest

build:  ## wheel and source archive under dist/
	$(PYTHON) -m build
