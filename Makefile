# `make demo` shows the method, `make test` runs the whole test suite, `make bench` measures its speed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH ?= runs/bench

.PHONY: demo test bench mutants fuzz lint docs clean

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

# On an idle machine, or it tells little. FULL=1 adds buildings of 5 million points.
# Compare with what was measured before: python benchmarks/compare.py OLD_FOLDER runs/bench (benchmarks/README.md)
bench: $(VENV)/.ready-dev
	mkdir -p $(BENCH)
	$(BIN)/python benchmarks/startup.py --json $(BENCH)/startup.json
	$(BIN)/python benchmarks/purify_vs_released.py --json $(BENCH)/geometric.json
	$(BIN)/python benchmarks/purify_vs_released.py --student paper --json $(BENCH)/paper.json
	$(BIN)/python benchmarks/purify_vs_released.py --student shipped --json $(BENCH)/shipped.json
	$(BIN)/python benchmarks/purify_vs_released.py --scaling 50000 500000 5000000 \
		--plot $(BENCH)/growth.png --json $(BENCH)/scaling.json
	$(BIN)/python benchmarks/lift_vs_released.py --film $(BENCH)/room.npz --json $(BENCH)/lift.json
	$(BIN)/python benchmarks/stored_features.py questions --json $(BENCH)/questions.json
ifdef FULL
	$(BIN)/python benchmarks/building.py --json $(BENCH)/building.json
	$(BIN)/python benchmarks/building.py --segment 32 512 --points 5000000 --frames 200 \
		--json $(BENCH)/segmented.json
endif

mutants: $(VENV)/.ready-dev
	$(BIN)/python tools/mutants.py

# The first minute of the same cases; a long round by hand: python tools/fuzz.py --seed 5 --minutes 60 --keep runs/fuzz
fuzz: $(VENV)/.ready-dev
	$(BIN)/python tools/fuzz.py --minutes 1

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.ready-dev
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist runs site
