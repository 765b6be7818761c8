# make export PROFILE=pixel8   plan, export and check the built-in encoder for a device
# make test                    run the tests
# Both create the environment first, from constraints.txt.
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= pixel8
OUT ?= build
BIN := $(VENV)/bin

.PHONY: export test slow lint

export: $(VENV)/.installed
	$(BIN)/prunnet-export --profile $(PROFILE) --out $(OUT)
	$(BIN)/prunnet-check $(OUT)/$(PROFILE)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[all,dev]'
	touch $@
