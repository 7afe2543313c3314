PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
PIP := $(VENV)/bin/python -m pip install --quiet --constraint constraints.txt

.PHONY: venv demo test lint types fast clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[review]'
	touch $@

$(DEV): $(STAMP)
	$(PIP) --editable '.[dev]'
	touch $@

demo: venv
	$(VENV)/bin/criinet demo --out demo --overwrite

test: lint types
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2

fast: $(DEV)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 -m "not slow"

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry src

types: $(DEV)
	$(VENV)/bin/pyright

clean:
	rm -rf $(VENV) demo build dist
