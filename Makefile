# The same jobs as CI runs, one target each. `make test` sets up what it needs by itself.
PYTHON ?= .venv/bin/python
LOCK ?= requirements/cpu.lock
WORKERS ?= auto
# One thread a process: as many processes as cores would otherwise fight over them.
ONE_THREAD = OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
READY = .venv/.dev-of-this-lock
# Tests start processes: each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help dev lint typecheck test build docs

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

dev: $(if $(filter .venv/bin/python,$(PYTHON)),$(READY))  ## what development needs, into .venv

# uv unpacks many packages at once. Where it does not reach an index that pip knows, pip does it.
$(READY): pyproject.toml $(LOCK)
	$(PYTHON) -m pip install -c $(LOCK) uv
	$(PYTHON) -m uv pip install --python $(PYTHON) -c $(LOCK) -e '.[dev]' \
	  || $(PYTHON) -m pip install -c $(LOCK) -e '.[dev]'
	touch $@

lint: dev  ## ruff: style, imports, docstrings, formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

typecheck: dev  ## mypy --strict over the package, its tests and benchmarks
	mkdir -p .typing/tagstack
	ln -sfn $(addprefix ../../,$(wildcard *.py) py.typed base_models configs ensemble meta) .typing/tagstack/
	ln -sfn ../tests .typing/tests
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy --explicit-package-bases benchmarks/*.py $(filter-out %/train.py,$(wildcard benchmarks/zoo/*.py))

test: dev  ## the tests, on all cores
	$(ONE_THREAD) $(PYTHON) -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

docs: dev  ## the documentation as pages, under site/
	$(PYTHON) -m mkdocs build --strict

build: dev  ## wheel and source archive under dist/
	$(PYTHON) -m build --installer uv || $(PYTHON) -m build
