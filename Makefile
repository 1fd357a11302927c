# Every target sets up what it needs in .venv: Python 3.11 or newer, make and the package registries suffice.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
DURATION ?= 60s
MINUTES  ?= 60
EFFORT   ?= 10
WORKERS  ?= $(shell getconf _NPROCESSORS_ONLN)

.DEFAULT_GOAL := help
.PHONY: help demo test unit coverage integration lint format docs bench soak prove constraints servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp per set of extras: quick the second time, made again when the pins change.
$(VENV)/stamp-%: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "logferry needs Python 3.11 or newer on the PATH (or: make PYTHON=/path/to/python)"; exit 1; }
	@test -x $(BIN)/python || { echo "· creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "· installing logferry[$*] and its pinned dependencies into $(VENV) (once)"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off -c constraints.txt -e '.[$*]'
	@touch $@

demo: $(VENV)/stamp-demo ## a real shop under load, shipped and shown (DURATION=60s)
	@$(BIN)/logferry demo --duration $(DURATION)

test: unit integration ## every test that this machine can run

unit: $(VENV)/stamp-dev ## unit and property tests, in parallel
	$(BIN)/python -m pytest tests/unit -n $(WORKERS) -q

# Without the tests whose signal handlers raise: raised within the tracer it ends the tracing, and all that the test
# process had counted is lost.
coverage: $(VENV)/stamp-dev ## branch coverage of the unit and property tests, held to its bound
	$(BIN)/python -m pytest tests/unit --ignore tests/unit/spool/test_spool_reentry.py -n $(WORKERS) -q \
		--cov --cov-report=term --timeout 500

# Servers that cannot be had here are skipped with one line; LOGFERRY_REQUIRE_SERVERS=1 makes that a failure.
integration: $(VENV)/stamp-dev servers ## real servers, real processes, real kills
	$(BIN)/python -m pytest tests/integration -q --timeout 300

servers: $(VENV)/stamp-dev ## install the servers that the tests talk to, into a cache outside the repository
	@$(BIN)/python tests/servers/install.py loki elasticsearch kafka || test -z "$(LOGFERRY_REQUIRE_SERVERS)"

lint: $(VENV)/stamp-dev ## ruff (all rules) and mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/stamp-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/stamp-docs ## build docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/stamp-dev ## what a record costs, as ratios to the standard library in the same run
	$(BIN)/python benchmarks/record.py

soak: $(VENV)/stamp-dev servers ## programs, servers and disks that fail at random (MINUTES=60)
	PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES)

prove: $(VENV)/stamp-dev servers ## every test and the soak at full size, with the table of what was tried and lost
	LOGFERRY_REQUIRE_SERVERS=1 $(BIN)/python tests/prove.py run --effort $(EFFORT) --minutes $(MINUTES)

constraints: ## pin the newest versions of the whole environment in constraints.txt
	@$(PYTHON) -m venv $(VENV)-pin && $(VENV)-pin/bin/python -m pip install --quiet uv
	@{ echo "# The versions of the whole environment (all extras, every platform). Made by: make constraints"; \
	$(VENV)-pin/bin/uv pip compile -q --python-version 3.11 --universal --all-extras --no-header --no-annotate pyproject.toml; \
	} > constraints.new && mv constraints.new constraints.txt
	@rm -rf $(VENV)-pin

clean: ## remove what the targets made
	rm -rf $(VENV) build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* *.egg-info
