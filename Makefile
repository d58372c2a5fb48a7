# Two commands: `make demo` shows the method, `make test` runs the whole test suite.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test mutants lint docs clean

$(VENV)/.ready-demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[text,synthetic]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-demo
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.ready-demo
	$(BIN)/purify3d demo
	@echo "see it in the browser: $(BIN)/python -m pip install -e '.[view]' && $(BIN)/purify3d view runs/demo/run"

test: $(VENV)/.ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

mutants: $(VENV)/.ready-dev
	$(BIN)/python tools/mutants.py

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready-dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist runs site
