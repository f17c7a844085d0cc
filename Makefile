# Baton. `make run` is all it takes; `make help` lists the rest.
#
# Everything lives in .venv: nothing is installed anywhere else. Versions are pinned in constraints.txt, direct
# dependencies and why each is there stand in pyproject.toml. Needs make and Python 3.11 or newer.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PIP := pip==25.3  # the pip we install with; 25.1 was the first to know --group

# The first Python that is new enough; `make PYTHON=/path/to/python3` overrules.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)
endif

# A virtual environment is meant, whatever this machine's pip is told to do elsewhere.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/run.stamp ## make .venv with what running needs

.PHONY: run
run: .venv/run.stamp ## run Baton on http://127.0.0.1:8000; Ctrl-C stops it
	@exec $(BIN)/python -m app serve

PARALLEL ?= --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: test
test: .venv/dev.stamp ## run all tests, on a Postgres of their own (of other binaries: POSTGRES_BIN=/usr/lib/postgresql/15/bin)
	$(BIN)/python -m pytest $(PARALLEL)

.PHONY: soak
soak: .venv/dev.stamp ## lose answers and kill servers for MINUTES, and judge what callers saw (SEED, CALLERS, POSTGRES_BIN)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) --callers $(CALLERS)

.PHONY: upgrade-soak
upgrade-soak: .venv/dev.stamp ## upgrade from the last release under load, for MINUTES, and judge what callers saw; needs its commit in git
	$(BIN)/python -m tests.soak.upgrade --minutes $(MINUTES) --seed $(SEED) --callers $(CALLERS)

.PHONY: check
check: .venv/dev.stamp ## check format, lint, types, and that nothing generated is stale
	$(BIN)/ruff format --check app tests
	$(BIN)/ruff check app tests
	$(BIN)/basedpyright
	$(BIN)/python -m tests.upgrade.lint
	$(BIN)/python -m app.documents.reference --check

.PHONY: format
format: .venv/dev.stamp ## format the code and mend what can be mended, then write what is generated
	$(BIN)/ruff check --fix --quiet app tests || true
	$(BIN)/ruff format app tests
	$(BIN)/python -m app.documents.reference

.PHONY: examples
examples: .venv/dev.stamp ## play the story of the examples, and write docs/examples.json and what is made of it
	$(BIN)/python -m pytest --quiet tests/http/test_story.py --record
	$(BIN)/python -m app.documents.reference

ROUNDS ?= 3
SECONDS ?= 3
MINUTES ?= 2
ROWS ?= 100000 1000000
SEED ?= 1
CALLERS ?= 12

.PHONY: bench
bench: .venv/run.stamp bench-setup ## measure against pgbench and other stacks, about ten minutes (ROUNDS, SECONDS, MINUTES=10)
	$(BIN)/python -m tests.bench compare --rounds $(ROUNDS) --seconds $(SECONDS) --minutes $(MINUTES) --json .cache/bench/compare.json

.PHONY: bench-scale
bench-scale: .venv/run.stamp ## measure among ever more tasks (ROWS="100000 1000000 10000000")
	$(BIN)/python -m tests.bench scale $(ROWS:%=--rows %) --rounds $(ROUNDS) --seconds $(SECONDS) --json .cache/bench/scale.json

.PHONY: bench-report
bench-report: .venv/run.stamp ## quote the newest runs of both in docs/performance.md
	$(BIN)/python -m tests.bench report

.PHONY: bench-setup
bench-setup: .cache/bench/python.stamp .cache/bench/node.stamp ## install the stacks that bench compares with, into .cache/bench

.PHONY: lock
lock: .venv/bin/python ## write constraints.txt anew, with the newest versions there are
	rm -rf .cache/lock
	$(BIN)/python -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet '$(firstword $(PIP))'
	.cache/lock/bin/python -m pip install --quiet --group dev
	{ sed '/^[^#]/,$$d' constraints.txt; .cache/lock/bin/python -m pip list --format=freeze --exclude pip --exclude setuptools; } >.cache/constraints.txt
	mv .cache/constraints.txt constraints.txt
	rm -rf .cache/lock

.PHONY: clean
clean: ## remove .venv and caches, but not your data
	rm -rf .venv .cache

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'Baton needs Python 3.11 or newer, and there is no such python3 on PATH. Install one, or say where it is: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo '$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@rm -rf .venv
	'$(PYTHON)' -m venv .venv

.venv/run.stamp: pyproject.toml constraints.txt | .venv/bin/python
	@$(BIN)/python -m pip install --quiet '$(firstword $(PIP))'
	$(INSTALL) --group run
	@touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/run.stamp
	$(INSTALL) --group dev
	@touch $@

.cache/bench/python.stamp: tests/bench/peers/requirements.txt | .venv/bin/python
	@rm -rf .cache/bench/venv
	$(BIN)/python -m venv .cache/bench/venv
	.cache/bench/venv/bin/python -m pip install --quiet --requirement $<
	@touch $@

# Without npm there is no stamp: the rows of the Node stacks are left out, and it is said each time.
.cache/bench/node.stamp: tests/bench/peers/package.json tests/bench/peers/package-lock.json
	@mkdir -p .cache/bench
	@cp $^ .cache/bench
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix .cache/bench && touch $@; \
	else echo 'There is no npm, so the bench leaves Fastify out. Debian and Ubuntu: apt-get install nodejs npm' >&2; fi
