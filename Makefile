# SPDX-License-Identifier: Apache-2.0
# Every task of the project. `make help` lists them.
# Needs Python 3.11 or later with venv, and make. Everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing pinned requirements into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --require-hashes -r requirements/dev.txt -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: install
install: $(STAMP) ## Create .venv with all that the other tasks need

.PHONY: demo
demo: $(STAMP) ## See it work: a real Kafka, simulated providers, a kill -9
	@$(BIN)/connector demo

.PHONY: test
test: $(STAMP) ## Run all tests, on a real Kafka and a real registry (about 8 minutes)
	@echo "Running the unit tests and two halves of the integration tests side by side ..."
	@$(MAKE) --no-print-directory -j3 unit integration-1 integration-2
	@echo "All tests passed."

.PHONY: unit
unit: $(STAMP) ## Run the fast tests only
	@$(BIN)/python -m pytest -q tests/unit

# Much of their time is waiting for sessions to expire: two halves, each with a Kafka of its own.
.PHONY: integration-1 integration-2
integration-1: $(STAMP)
	@$(BIN)/python -m pytest -q tests/integration/test_[a-n]*.py

integration-2: $(STAMP)
	@$(BIN)/python -m pytest -q tests/integration/test_[o-z]*.py

.PHONY: lint
lint: $(STAMP) ## Check style, types, spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/codespell

.PHONY: format
format: $(STAMP) ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: docs
docs: $(STAMP) ## Write all that is generated in docs/ anew
	@$(BIN)/python -m connector.docs

.PHONY: bench
bench: $(STAMP) ## Measure against a hand-written script and the ceiling (about 6 minutes)
	@$(BIN)/python -m benchmarks

.PHONY: requirements
requirements: $(STAMP) ## Pin the newest allowed requirements again (needs uv)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet -o requirements/runtime.txt
	@uv pip compile pyproject.toml --extra sandbox --extra dev --universal \
	  --python-version 3.11 --generate-hashes \
	  --no-annotate --no-header --no-emit-index-url --quiet -o requirements/dev.txt

.PHONY: clean
clean: ## Remove what the tasks created here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
