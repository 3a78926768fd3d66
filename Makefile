# Everything happens in .venv beside this file. Stamps in it remember what was installed, so a
# second run installs nothing; a stamp is written last, so an interrupted run goes on.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; PYTHON=/path/to/python overrides.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=
# Dependency groups that the tests run with beside their own, such as torch (200 MB to some
# gigabytes); without one its tests are skipped.
TEST_GROUPS ?=
INSTALLED_TEST := $(VENV)/.installed-test $(TEST_GROUPS:%=$(VENV)/.installed-test-%)
TESTED := train,serve,client,parquet,jxl,postgres

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.installed-base ## Install Pixtag into .venv
	@echo "Installed. Try: $(BIN)/pixtag --help"

.PHONY: demo
demo: $(VENV)/.installed-base ## Suggest hashtags for the sample photos
	@$(BIN)/python demo/demo.py

.PHONY: page
page: $(VENV)/.installed-serve ## Open the page in your browser (ARGS="--port 8001" goes to pixtag serve)
	@$(BIN)/pixtag serve $(ARGS)

.PHONY: test
test: $(INSTALLED_TEST) ## Run the tests (about 10 minutes; ARGS="-k words" picks some)
	$(BIN)/python -m pytest -n 2 -m "not slow" $(ARGS)

.PHONY: slow
slow: $(INSTALLED_TEST) ## Run the long tests: soak (SOAK_MINUTES=30), hundreds of kills
	$(BIN)/python -m pytest -m slow $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.installed-test ## Try 100,000 damaged inputs (FUZZ_CASES=5000 fewer; ARGS="-k photos" picks)
	FUZZ_CASES=$(or $(FUZZ_CASES),100000) $(BIN)/python -m pytest -q -s -n 0 \
		tests/hard/test_fuzz*.py $(ARGS)

.PHONY: lowest
lowest: $(VENV)/.installed-test ## Run the tests on the lowest versions that pyproject.toml allows (ARGS)
	$(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python out/lowest
	$(BIN)/python -m uv pip install --quiet --python out/lowest/bin/python \
		--resolution lowest-direct --editable '.[$(TESTED)]' --group test
	out/lowest/bin/python -m pytest -n 2 -m "not slow" $(ARGS)

.PHONY: pythons
pythons: $(VENV)/.installed-test ## Python 3.11 to 3.14: wheels of all that is needed, tests where one is here
	$(BIN)/python tools/pythons.py $(ARGS)

.PHONY: audit
audit: $(VENV)/.installed-audit ## Look for known vulnerabilities in all that is installed
	@mkdir -p out
	$(BIN)/python -m uv pip freeze --quiet --python $(BIN)/python --exclude-editable > out/installed.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r out/installed.txt $(ARGS)

.PHONY: check
check: $(VENV)/.installed-check ## Lint, format, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright --warnings src
	$(BIN)/lint-imports --no-cache

.PHONY: bench
bench: $(VENV)/.installed-bench ## Measure speeds as ratios in one run
	@$(BIN)/python -m bench $(ARGS)

.PHONY: evaluate
evaluate: $(VENV)/.installed-test ## Reproduce the README's tables from the evaluation set (world and town)
	$(BIN)/python tools/evaluation_set.py run $(ARGS)

.PHONY: clean
clean: ## Remove caches and build results
	rm -rf build dist out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove .venv too
	rm -rf $(VENV)

# An environment whose pip does not work (interrupted while it was made or renewed) is made anew.
define working-pip
@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(PYTHON) -m venv --clear $(VENV); touch $(VENV)/.made; }
endef

$(VENV)/.made:
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or later found" >&2; \
		echo "hint: install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "error: $(PYTHON) lacks the venv module, which makes $(VENV)" >&2; \
		echo "hint: on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; fi
	$(working-pip)
	@touch $@

$(VENV)/.installed-base: $(VENV)/.made pyproject.toml
	@echo "Installing Pixtag into $(VENV) (about a minute) ..."
	$(working-pip)
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-serve: $(VENV)/.installed-base
	@echo "Installing what the page needs ..."
	@$(PIP) install --editable '.[serve]'
	@touch $@

# Groups of dependencies need pip 25.1.
$(VENV)/.installed-test: $(VENV)/.installed-base
	@echo "Installing what training and the tests need ..."
	$(working-pip)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable '.[$(TESTED)]' --group test
	@touch $@

$(VENV)/.installed-test-%: $(VENV)/.installed-test
	@echo "Installing the group $* for the tests ..."
	@$(PIP) install --group $*
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed-test
	@echo "Installing the checkers ..."
	@$(PIP) install --group check
	@touch $@

$(VENV)/.installed-audit: $(VENV)/.installed-test
	@echo "Installing pip-audit ..."
	@$(PIP) install --group audit
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-test
	@echo "Installing what the benches need ..."
	@$(PIP) install --group bench
	@touch $@
