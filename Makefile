# Every target sets up what it needs. Python 3.11 or newer, git and make are all that has to be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := schemas extractors synthesis validation storage task_registry hrm flows
CODE := $(PACKAGES) tests benchmarks examples
DEMO := build/demo

.PHONY: demo test check lint types contracts docs dev install ray-env train-env lock clean help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: install ## Make tasks from the bundled sample repository, without Docker, a key or root
	@rm -rf $(DEMO)
	$(BIN)/gymforge ingest examples/tinystats.bundle --sandbox local --max-tasks 12 --out $(DEMO)
	@$(BIN)/gymforge show $(DEMO) "$$($(BIN)/gymforge tasks $(DEMO) --json | $(BIN)/python examples/pick_task.py)"
	@echo
	@echo "The shards are in $(DEMO)/data/, what was rejected and why in $(DEMO)/rejected/."
	@echo "Next, with a repository of yours:"
	@echo "  $(BIN)/gymforge ingest PATH_OR_URL --max-tasks 50 --out my-tasks"
	@echo "  $(BIN)/gymforge stats my-tasks"
	@echo "  $(BIN)/gymforge verify my-tasks --sample 10"

test: dev ## Run the whole test suite; what this machine cannot run is skipped with the reason
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: dev lint types contracts ## Lint, types, import contracts and the quick tests: under two minutes
	$(BIN)/python -m pytest -m "not slow and not docker" -n 2

lint: dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: dev
	$(BIN)/mypy
	@if [ -e $(VENV)/.installed-train ]; then $(BIN)/mypy -p hrm; \
	  else echo "hrm is left out: it is checked against torch's own types, which \`make train-env\` brings"; fi

contracts: dev
	$(BIN)/lint-imports

docs: dev ## Build the documentation, strictly
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

install: $(VENV)/.installed

dev: $(VENV)/.installed-dev

ray-env: $(VENV)/.installed-ray ## Add what several machines need (Ray and prefect-ray)

train-env: $(VENV)/.installed-train ## Add what the trainer needs (torch: a download of 2.5 GB)

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "gymforge needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: its module ensurepip is missing. Install it: apt install $(notdir $(PYTHON))-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements-dev.lock
	@touch $@

$(VENV)/.installed-train: requirements-train.lock $(VENV)/.installed-dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements-train.lock
	@touch $@

$(VENV)/.installed-ray: requirements-ray.lock $(VENV)/.installed-dev
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements-ray.lock
	@touch $@

lock: | $(BIN)/uv ## Resolve the dependencies anew into requirements.lock and those beside it
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --upgrade --extra docker pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --upgrade --extra dev --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --upgrade --extra train --constraint requirements-dev.lock pyproject.toml --output-file requirements-train.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11 \
	  --upgrade --extra ray --constraint requirements-dev.lock pyproject.toml --output-file requirements-ray.lock

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist
