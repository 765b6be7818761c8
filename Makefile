# make export PROFILE=pixel8   plan, export and check the built-in encoder for a device
# make test                    run the tests
# make coverage                the same, with a table of the lines that they reach
# make bench                   small versions of the benchmarks that take minutes (benchmarks/README.md)
# make docs                    build the site into site/ (sets up .venv-docs, 170 MB)
# Each sets up what it needs in .venv the first time, pinned by constraints.txt: an export the packages of its targets
# (1 to 2 GB), the tests everything (5 GB).
PYTHON ?= python3
VENV ?= .venv
PROFILE ?= pixel8
OUT ?= build
BIN := $(VENV)/bin
DOCS_VENV ?= .venv-docs
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# The targets of the profile are the names of the extras that its export needs.
PROFILE_FILE := $(firstword $(wildcard $(PROFILE) device_profiles/$(PROFILE).yaml))
TARGETS := $(shell test -f "$(PROFILE_FILE)" && sed -n 's/^targets: *\[\(.*\)\].*/\1/p' "$(PROFILE_FILE)" | tr -d ' ')
EXTRAS := $(or $(TARGETS),all)

.PHONY: export test coverage avx2 slow emulated campaign lint docs bench clean

# pip compiles nothing for an export: Python compiles what is imported, when it is, and that saves 500 MB. From Python
# 3.12 on it then warns of the syntax in other people's packages.
export: export PYTHONWARNINGS = ignore::SyntaxWarning
export: $(VENV)/.for-$(EXTRAS)
	$(BIN)/prunnet-export --profile $(PROFILE) --out $(OUT)
	$(BIN)/prunnet-check $(OUT)/$(notdir $(PROFILE:.yaml=))

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not campaign and not emulated"

# The tests once more, with the lines and branches that they reach; prints what is missed, and sets no limit.
coverage: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not campaign and not emulated" --cov --cov-report=term

# oneDNN's kernels for processors without AVX-512, on any processor: narrow layers are where they differ.
avx2: $(VENV)/.installed
	ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not campaign and not emulated" \
		tests/prunnet/torch_fixes/test_convolution.py tests/prunnet/train/test_training.py tests/prunnet/train/test_methods.py \
		tests/prunnet/train/test_checkpoint.py tests/prunnet/train/test_health.py tests/prunnet/train/test_graphs.py

slow: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow

# The emulated Arm processors. The emulator is a step of its own (prunnet-device install); without it they are skipped.
emulated: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m "emulated and not slow"

# Kills, injected faults, mutated files: many minutes each. CI leaves them out; run them before a release.
campaign: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m campaign

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The reference is written from the code, in whichever environment there is; the site needs only the pages.
docs: $(or $(wildcard $(VENV)/.installed),$(VENV)/.for-train) $(DOCS_VENV)/.installed
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --clean

# Ratios within one run, so that any machine will do.
bench: $(VENV)/.installed
	@echo "Latency of a subnetwork over the dense encoder, beside the ratio of their MACs:"
	$(BIN)/python -m benchmarks.host_latency
	@echo "Exact search beside FAISS's flat index:"
	$(BIN)/python -m benchmarks.search_speed --items 50000 --ranked 10000
	@echo "Plans for every shipped profile, traced cold and warm:"
	$(BIN)/python -m benchmarks.solve_speed
	@echo "A training step with five capacities, in plain dense steps:"
	$(BIN)/python -m benchmarks.step_cost --size 64 --batch 16 --rounds 3

clean:
	rm -rf $(VENV) $(DOCS_VENV) site $(OUT) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

$(VENV)/.for-%: constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the packages that the targets of $(PROFILE) need ($*); this takes some minutes the first time"
	$(INSTALL) --no-compile --editable '.[$*]'
	@touch $@

$(VENV)/.installed: constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing everything that the tests need; this takes some minutes the first time"
	$(INSTALL) --editable '.[all,dev]'
	$(if $(wildcard $(VENV)/.for-*),-$(BIN)/python -W ignore -m compileall -q $(VENV)/lib)
	@touch $@

$(DOCS_VENV)/.installed: docs/requirements.txt
	@test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check --requirement docs/requirements.txt
	@touch $@
