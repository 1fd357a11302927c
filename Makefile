# Every target sets up what it needs in .venv: Python 3.11 or newer, make and the package registries suffice.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
BIN    := $(VENV)/bin
DURATION ?= 60s
MINUTES  ?= 60
SIZE     ?= usual
EFFORT   ?= 10
WORKERS  ?= $(shell getconf _NPROCESSORS_ONLN)
# Tests wait for servers, files and deadlines much of their time: one more at once than there are processors.
SERVERS  ?= $(shell expr $(WORKERS) + 1)

# Thousands of interpreters are started: each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

# What failed runs once more by itself: real processes on a busy machine miss a deadline now and then. Both runs are
# shown; what fails twice fails.
AGAIN = $(BIN)/python -m pytest -q --timeout 300 --last-failed --last-failed-no-failures none

.DEFAULT_GOAL := help
.PHONY: help demo test unit coverage integration lint format docs bench bench-check bench-peers bench-install \
	bench-panels bench-page bench-slices bench-sinks bench-agent bench-docs profile soak prove screenshots stack-up stack-down stack-check constraints servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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
	$(BIN)/python -m pytest tests/unit -n $(SERVERS) --dist worksteal -q || $(AGAIN) tests/unit

# Without the tests whose signal handlers raise: raised within the tracer it ends the tracing, and all that the test
# process had counted is lost.
coverage: $(VENV)/stamp-dev ## branch coverage of the unit and property tests, held to its bound
	$(BIN)/python -m pytest tests/unit --ignore tests/unit/spool/test_spool_reentry.py -n $(WORKERS) -q \
		--cov --cov-report=term --timeout 500

# Servers that cannot be had here are skipped with one line; LOGFERRY_REQUIRE_SERVERS=1 makes that a failure.
integration: $(VENV)/stamp-dev servers ## real servers, real processes, real kills
	$(BIN)/python -m pytest tests/stack tests/integration -q --timeout 300 -n $(SERVERS) --dist loadfile \
		|| $(AGAIN) tests/stack tests/integration

servers: $(VENV)/stamp-dev ## install the servers that the tests talk to, into a cache outside the repository
	@$(BIN)/python tests/servers/install.py loki lumber writers npm jvm elasticsearch elasticsearch-9 opensearch kafka rsyslog zipkin \
		nginx apache redis rabbitmq postgresql mariadb prometheus chromium journal-remote || test -z "$(LOGFERRY_REQUIRE_SERVERS)"

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

# Figures are JSON in build/; `make bench-docs` puts them into docs/performance.md and the README.
bench: $(VENV)/stamp-dev ## what everything costs, as ratios to the standard library in the same run, and the budgets
	$(BIN)/python benchmarks/bench.py --size $(SIZE) --peers build/bench-peers.json --json build/bench.json

bench-check: $(VENV)/stamp-dev ## the short form, compared with what was kept: fails when something got slower
	$(BIN)/python benchmarks/check.py --short

# In an environment of their own: what they bring is not to be found by logferry's tests.
bench-peers: ## what today's libraries cost for the same records
	@$(MAKE) --no-print-directory VENV=.venv-peers .venv-peers/stamp-peers
	@mkdir -p build
	.venv-peers/bin/python benchmarks/peers.py --json build/bench-peers.json

bench-install: $(VENV)/stamp-dev ## what each extra takes on the disk
	@mkdir -p build
	$(BIN)/python benchmarks/install_size.py --json build/bench-install.json

bench-panels: $(VENV)/stamp-dev ## the local store's panels over ten million events
	@mkdir -p build
	$(BIN)/python benchmarks/store_panels.py --json build/bench-panels.json

bench-page: $(VENV)/stamp-dev ## the local page in a browser over ten million events: first picture, scrolling
	@mkdir -p build
	$(BIN)/python benchmarks/ui_page.py --json build/bench-page.json

bench-slices: $(VENV)/stamp-dev ## what the delivery thread's short slices do for the application
	@mkdir -p build
	$(BIN)/python benchmarks/slices.py --json build/bench-slices.json

bench-sinks: $(VENV)/stamp-dev ## what each sink costs an event, on top of the spool
	@mkdir -p build
	$(BIN)/python benchmarks/sink_cost.py --json build/bench-sinks.json

bench-agent: $(VENV)/stamp-dev ## the agent beside others: Debian's rsyslog and syslog-ng, and fluent-bit, filebeat, otelcol if on the PATH
	@mkdir -p build
	$(BIN)/python benchmarks/agent_peers.py --json build/bench-agent.json

bench-docs: $(VENV)/stamp-dev ## put what was measured into docs/performance.md and the README
	$(BIN)/python benchmarks/page.py $(addprefix build/,bench.json profile.json bench-peers.json \
		bench-install.json bench-panels.json bench-page.json bench-slices.json bench-sinks.json bench-agent.json)

profile: $(VENV)/stamp-dev ## where the microseconds go: each stage of a record's way by itself, and the whole
	@mkdir -p build
	$(BIN)/python benchmarks/stages.py --whole --json build/profile.json

soak: $(VENV)/stamp-dev servers ## programs, servers and disks that fail at random (MINUTES=60)
	PYTHONPATH=tests $(BIN)/python -m soak --minutes $(MINUTES)

prove: $(VENV)/stamp-dev servers ## every test and the soak at full size, in pieces if need be, with the table of what was tried and lost
	LOGFERRY_REQUIRE_SERVERS=1 $(BIN)/python tests/prove.py run --effort $(EFFORT) --minutes $(MINUTES)

screenshots: $(VENV)/stamp-dev ## the pictures of the local page and the commands in docs/pictures
	@$(BIN)/python docs/pictures/make.py

stack-up: $(VENV)/stamp-dev ## the compose stack: Loki, Elasticsearch, Grafana, the shop, the agent (needs docker)
	$(BIN)/python deploy/stack.py up

stack-down: $(VENV)/stamp-dev ## stop it (VOLUMES=1 removes what it has stored)
	$(BIN)/python deploy/stack.py down $(if $(VOLUMES),--volumes)

stack-check: $(VENV)/stamp-dev ## look at the stack's files, without an engine
	$(BIN)/python deploy/stack.py check
	$(BIN)/python deploy/grafana/generate.py --check

constraints: ## pin the newest versions of the whole environment in constraints.txt
	@$(PYTHON) -m venv $(VENV)-pin && $(VENV)-pin/bin/python -m pip install --quiet uv
	@{ echo "# The versions of the whole environment (all extras, every platform). Made by: make constraints"; \
	$(VENV)-pin/bin/uv pip compile -q --python-version 3.11 --universal --all-extras --no-header --no-annotate pyproject.toml; \
	} > constraints.new && mv constraints.new constraints.txt
	@rm -rf $(VENV)-pin

clean: ## remove what the targets made
	rm -rf $(VENV) $(VENV)-* build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* *.egg-info
