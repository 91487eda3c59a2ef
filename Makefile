# `make` alone lists the targets. Each makes the virtual environment it needs, when there is none, and then works.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
PYTEST_FLAGS ?= -n 2

# The pins hold for isolated builds too: older pips read the first variable for them, newer ones the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo bench test test-servers check docs clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  make %-13s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.student ## run the whole line on a made shop and print five explained recommendations
	$(BIN)/reasoningrec demo --run $(RUN)

bench: $(VENV)/.bench ## measure every method on every dataset (hours; goes on where it stopped; REASONINGREC_DATA=FOLDER)
	$(BIN)/python benchmarks/decisions.py --seeds 0 1 2 --keep-going
	$(BIN)/python benchmarks/decisions.py --seeds 0 1 2 --keep-going --variants no-description no-profile no-evidence no-rationale tallrec published-64 published-128 published-256 published-bare published-no-profile few-shot
	$(BIN)/python benchmarks/audit.py

test: $(VENV)/.test ## run the tests (those on real data need REASONINGREC_DATA=FOLDER)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

test-servers: $(VENV)/.test .venv-vllm/.made .venv-llamacpp/.made ## run against real inference servers (a quarter of an hour, 3 GB)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -o addopts="-ra --strict-markers --strict-config" tests/servers

check: $(VENV)/.dev ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove environment, caches and built files; runs/ stays
	rm -rf $(VENV) .venv-vllm .venv-llamacpp site build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of extras, renewed when what it is made from changes.
EXTRAS_student := student
EXTRAS_bench := student,baselines
EXTRAS_test := student,baselines,test
EXTRAS_dev := student,dev
EXTRAS_docs := docs

$(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/.made
	@echo "== installing reasoningrec[$(EXTRAS_$*)] into $(VENV)"
	$(BIN)/python -m pip install -c constraints.txt -e '.[$(EXTRAS_$*)]'
	@touch $@

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 ..." >&2; exit 2; }
	@echo "== making the virtual environment $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@touch $@

# A server of its own pins has an environment of its own. The pins are all of it, and hold for what is built, too.
.venv-%/.made: tests/servers/%-requirements.txt | $(VENV)/.made
	@echo "== installing the server $* into .venv-$*"
	$(PYTHON) -m venv --clear .venv-$*
	PIP_CONSTRAINT=$< PIP_BUILD_CONSTRAINT=$< CMAKE_ARGS="-DLLAVA_BUILD=OFF" .venv-$*/bin/python -m pip install --no-deps -r $<
	@touch $@
