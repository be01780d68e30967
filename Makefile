# Everything a contributor types. Each target sets up what it needs; `make help` lists them.

PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))
SHARED_DATA := ../shared/data

# Tests and notebooks read real graphs from GRAPHCLEAN_DATA. Where it is not set and the shared
# folder lies beside the checkout, they get a copy, because PyG writes processed files next to raw.
ifndef GRAPHCLEAN_DATA
ifneq ($(wildcard $(SHARED_DATA)/.),)
COPY_DATA := data
WITH_DATA := GRAPHCLEAN_DATA="$(CURDIR)/.data"
endif
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types imports notebooks wheel-check check data lock clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned dependencies (every target below does it by itself)

$(READY): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "graphclean needs Python 3.11 or newer, and there is no '$(PYTHON)' here." \
	    "Name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "graphclean needs Python 3.11 or newer, and '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1)." \
	    "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (about two minutes the first time)"
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(READY) ## Clean the bundled digits graph with 10 % injected mislabels; report in out/demo
	$(BIN)/graphclean clean digits --noise confusion:0.1 --seed 0 --out out/demo

test: $(READY) $(COPY_DATA) ## Run the tests on two processes (PYTEST_ARGS="-k noise" for some)
	$(WITH_DATA) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(READY) ## Check style and formatting with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check types with mypy --strict
	$(BIN)/mypy

imports: $(READY) ## Check that imports point one way, layer by layer
	$(BIN)/lint-imports

notebooks: $(READY) $(COPY_DATA) ## Execute every notebook from top to bottom (files stay unchanged)
	@test -n "$(NOTEBOOKS)" || { echo "notebooks/ holds no .ipynb file" >&2; exit 1; }
	$(WITH_DATA) $(BIN)/jupyter-execute --kernel_name=python3 --timeout=600 $(NOTEBOOKS)

wheel-check: $(READY) ## Build the wheel, install it in a new venv, use it outside the checkout
	PYTHON=$(BIN)/python bash .ci/wheel-check

check: lint types imports wheel-check notebooks test ## Everything CI checks, in CI's order

data:
	@new=$$(cd $(SHARED_DATA) && find . -type f -exec cksum {} + | sort | cksum); \
	if [ "$$new" != "$$(cat .data/.source 2>/dev/null)" ]; then \
	  echo "Copying $(SHARED_DATA) to .data"; \
	  rm -rf .data && cp -R $(SHARED_DATA) .data && chmod -R u+w .data && echo "$$new" > .data/.source; \
	fi

lock: $(READY) ## Rewrite constraints.txt from what .venv holds now (keeps its header)
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt
	@touch $(READY)

clean: ## Remove outputs and caches
	rm -rf out notebooks/out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## Remove outputs, caches, .venv and the copied graphs
	rm -rf $(VENV) .data
