# What a newcomer types. Everything runs in .venv, made from the hash-pinned lock; nothing else is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Images for containers set it; each process of a stack, a run or a test would compile the project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up down reset status test torture kills soak browser lint bench lock bundle clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/installed ## Make .venv from requirements.lock

# The lock is complete, so pip has nothing to resolve: with extras and hashes it would not manage.
$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "ShopStream needs Python 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

DOMAIN ?= shopstream

demo: install ## Play 90 days of a store and materialize everything; DOMAIN=<name> is another business, all is each
	@$(BIN)/shopstream demo --domain $(DOMAIN)

up: install ## Start the stack with Dagster's UI on 127.0.0.1, until Ctrl-C
	@$(BIN)/shopstream stack up --ui

down: install ## Stop the stack; its data is kept
	@$(BIN)/shopstream stack down

reset: install ## Stop the stack and delete its data
	@$(BIN)/shopstream stack reset

status: install ## Show the services of the stack
	@$(BIN)/shopstream stack status

test: install ## Run the test suite on a stack of its own; LONG=1: also what takes minutes
	@SHOPSTREAM_LONG_TESTS=$(LONG) $(BIN)/python -m pytest

# REPLAY=torture/failure-1-17.json takes a sequence again and looks for fewer steps that fail as well.
SEQUENCES ?= 200
STEPS ?= 25
SEED ?= 1

torture: install ## Drive SEQUENCES of STEPS random acts and demand that every layer equals the source
	@$(BIN)/python tests/convergence/torture.py --sequences $(SEQUENCES) --steps $(STEPS) --seed $(SEED) \
		$(if $(REPLAY),--replay $(REPLAY) --reduce)

# A round that does not end as it must is written to torture/, with the logs.
KILLS ?= 200
ROUND ?= 5

kills: install ## Kill -9 KILLS processes of a stack at work, at random, and demand that it comes to rest and is right
	@$(BIN)/python tests/reliability/kills.py --kills $(KILLS) --round $(ROUND) --seed $(SEED)

MINUTES ?= 60
WRITERS ?= 10

soak: install ## Let WRITERS write for MINUTES: nothing may fail or grow without end, and all must be right
	@PYTHONPATH=tests/reliability:tests/convergence:tests:. $(BIN)/python tests/reliability/soak.py \
		--minutes $(MINUTES) --writers $(WRITERS) --seed $(SEED)

browser: ## Install Debian's chromium and libfaketime for tests that are skipped without them (needs root)
	@{ command -v chromium && ls /usr/lib/*/faketime/libfaketime.so.1; } >/dev/null 2>&1 || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium libfaketime; }

lint: install ## Check style, types, SQL, and that generated files are what the domains give
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/*/models
	@$(BIN)/shopstream generate --check

# dlt needs an older multidict than the platform, so the benchmark has an environment of its own.
BENCH := .venv-bench

$(BENCH)/installed: requirements-bench.lock pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-bench.lock
	$(BENCH)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

bench: $(BENCH)/installed ## Measure the extraction against its limit and its rivals, and what a run costs
	@$(BENCH)/bin/python -m benchmarks.extraction
	@$(BENCH)/bin/python -m benchmarks.lean

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

lock: ## Resolve the lock files anew (needs uv)
	$(LOCK) --extra embedded --extra dashboards --extra dev pyproject.toml --output-file requirements.lock
	sed -E '/^ +--hash/d; s/ \\$$//; /^multidict==/d' requirements.lock > $(BENCH).txt
	$(LOCK) --extra embedded --extra dev --extra bench pyproject.toml --constraints $(BENCH).txt \
		--output-file requirements-bench.lock
	rm $(BENCH).txt
	$(LOCK) pyproject.toml deploy/requirements.in --constraints requirements.lock --output-file deploy/requirements.lock
	$(subst --universal,--python-platform x86_64-manylinux_2_28,$(LOCK)) --extra dashboards pyproject.toml \
		--constraints requirements.lock --output-file deploy/dashboards.lock

# Snowflake installs what lies beside the app, and needs no way out of the account for it.
BUNDLE := dist/dashboards

bundle: install ## Gather the dashboards and their packages in dist/dashboards, for Streamlit in Snowflake
	rm -rf $(BUNDLE) build
	@$(BIN)/python -m pip download --quiet --no-deps --require-hashes --only-binary :all: --python-version 3.11 \
		--platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --requirement deploy/dashboards.lock --dest $(BUNDLE)
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(BUNDLE) .
	@cp deploy/snowflake/streamlit_app.py $(BUNDLE)
	@cd $(BUNDLE) && printf './%s\n' *.whl > requirements.txt
	@du -sh $(BUNDLE)

clean: ## Delete .venv and build files
	rm -rf $(VENV) build dist *.egg-info dbt_project/*/target
