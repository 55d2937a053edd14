# Every target sets up what it needs. Python 3.11 or newer and access to PyPI are all that must be there before.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2
MODEL  ?= smollm2-135m-instruct
READY  := $(VENV)/.ready

.PHONY: help setup model report test check lint types docs serve lab notebooks bench soak clean
.DEFAULT_GOAL := help

help:
	@echo "make report   set up, fetch the default model, run every probe on it, write reports/index.html"
	@echo "make test     set up and run the whole test suite in JOBS=2 processes"
	@echo "make check    ruff (make lint), and mypy on the installed package (make types)"
	@echo "make docs     the reference of the Python interface, from the docstrings → build/docs/index.html"
	@echo "make serve    the dashboards on http://127.0.0.1:5006"
	@echo "make lab      JupyterLab with the notebooks"
	@echo "make notebooks  run the notebooks and write them anew, with their outputs"
	@echo "make bench    speed and memory, side by side with what one would use otherwise"
	@echo "make soak     long endurance runs: kills, sessions, memory"

setup: $(READY)

$(READY): pyproject.toml setup.py constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,pdf]"
	@touch $@

model: $(READY)
	$(BIN)/workbench models fetch $(MODEL)

report: model
	$(BIN)/workbench suite --model $(MODEL) --preset quick -o reports
	@echo
	@echo "The report:      $(CURDIR)/reports/index.html   (opens in any browser, offline)"
	@echo "The dashboards:  make serve"

test: model
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder --durations 40

check: lint types

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	rm -rf build/typed build/lib
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy -p workbench

docs: $(READY)
	$(BIN)/python docs/api.py

serve: $(READY)
	$(BIN)/workbench serve

lab: $(READY)
	$(BIN)/jupyter lab notebooks

notebooks: model
	$(BIN)/python notebooks/execute.py

bench: model
	$(BIN)/python bench/run.py

soak: model
	$(BIN)/python soak/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info
