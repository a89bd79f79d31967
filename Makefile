# Everything runs in .venv, which the first target that needs it creates with uv; tools of development come with the first that needs them.
# PYTHONDONTWRITEBYTECODE makes `import lightning` take 15 s every time: it is unset here.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := .uv/bin/uv
STAMP := $(VENV)/.ready
DEV := $(VENV)/.dev-ready
# Two test processes of one thread each: more threads than cores makes everything slower.
WORKERS ?= 2
ifeq ($(UV_TORCH_BACKEND),cpu)
SIZE := about 1 GB, with CPU-only wheels from PyTorch's own index
else
SIZE := about 6 GB, most of it CUDA for PyTorch (1 GB where a CPU-only torch is already in it); 3 GB to download
endif

.DEFAULT_GOAL := help
.PHONY: help setup extras demo test test-slow docs bench lint check format clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Create .venv with what assimilate needs: 6 GB, one to ten minutes

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "pip is missing; on Debian: apt-get install python3-pip python3-venv make git"; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv uv

$(STAMP): pyproject.toml | $(UV)
	@echo "Creating $(VENV): $(SIZE), one to ten minutes."
	$(UV) venv --quiet --allow-existing --seed --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --editable . $(if $(UV_TORCH_BACKEND),|| { echo "PyTorch's own index could not be used: make setup without UV_TORCH_BACKEND takes the ordinary one"; exit 1; })
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $(STAMP)

$(DEV): $(STAMP)
	@echo "Adding the tools of development to $(VENV): about 120 MB, less than a minute."
	$(UV) pip install --quiet --python $(BIN)/python --group dev --editable .
	@touch $(DEV)

extras: $(STAMP)  ## Install extras into .venv: make extras EXTRAS=sweep,joblib (also slurm, timm, tensorboard, mlflow)
	$(UV) pip install --quiet --python $(BIN)/python --editable '.[$(EXTRAS)]'

demo: $(STAMP)  ## The whole chain on real digit scans, with rays; ends with a table and an HTML report
	$(BIN)/python -m assimilate.train view.solver=ray

test: $(DEV)  ## The fast tests
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

test-slow: $(DEV)  ## The tests that take minutes
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m slow --timeout 1800 --session-timeout 14400

docs: $(STAMP)  ## The documentation as a site in build/docs; a warning or a broken link is an error
	$(UV) pip install --quiet --python $(BIN)/python --group docs
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/python -m mkdocs build --quiet --strict

bench: $(DEV)  ## All benchmarks against their references (an hour or two, nothing else running); writes docs/benchmarks.md
	$(BIN)/python benchmarks/table.py

lint: $(DEV)  ## ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports

check: lint test  ## What CI runs

format: $(DEV)  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove .venv, caches and outputs
	rm -rf $(VENV) .uv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build outputs
