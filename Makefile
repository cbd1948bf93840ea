# Every target first makes .venv from uv.lock if needed. It needs only Python 3.11 to 3.13 and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiled bytecode halves the start-up time of every task and command.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up down logs backup restore secrets test test-spark test-airflow test-services test-compose test-wheel lint format docs bench clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# Adapters of services that nothing here can reach; see pyproject.toml.
CLOUD := snowflake bigquery redshift trino

setup: $(READY) ## make the environment in .venv, from uv.lock

$(READY): uv.lock pyproject.toml pipelines/sources/texts_archive.py
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Tailrace needs Python 3.11 to 3.13; $(PYTHON) is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@UV=$$(command -v uv || true); \
	if [ -z "$$UV" ]; then $(BIN)/python -m pip install --quiet uv && UV=$(BIN)/uv; fi; \
	VIRTUAL_ENV=$(VENV) "$$UV" sync --frozen --inexact --all-extras $(foreach extra,$(CLOUD),--no-extra $(extra)) --python $(BIN)/python
	@$(BIN)/python -m pipelines.sources.texts_archive || echo "The rest of the environment is ready."
	@touch $@

demo: $(READY) ## train, predict and publish on ten weeks of flights, on Airflow (about 3 minutes); PIPELINE=name: another
	$(BIN)/python -m scripts.demo $(PIPELINE)

up: $(READY) ## run Airflow and MLflow on the demo's data, until Ctrl-C
	$(BIN)/python -m scripts.up

down: $(READY) ## stop what `make up` started, also from another terminal
	$(BIN)/python -m scripts.down

logs: ## show the logs of `make up` as they grow
	tail -n 20 -F $${TAILRACE_HOME:-.tailrace}/airflow/processes/*.log

backup: $(READY) ## back up metadata, registry, lake and landed files: make backup [TO=folder]
	$(BIN)/python -m scripts.backup $(or $(TO),backups/$(shell date -u +%Y%m%dT%H%M%SZ))

restore: $(READY) ## restore a backup: make restore FROM=folder [OVER=yes]
	$(BIN)/python -m scripts.restore $(or $(FROM),$(error name the backup: make restore FROM=folder)) $(if $(filter yes,$(OVER)),--over)

secrets: $(READY) ## write random passwords for docker compose into .env, or add to it what a new release needs
	$(BIN)/python -m scripts.make_secrets

# Three tests at a time on two cores, because many tests wait for Airflow. loadscope runs the tests of one file in one
# process, so that they share fixtures. tests/conftest.py puts the longest files first, and --no-loadscope-reorder keeps
# that order: by itself, pytest-xdist starts with the files that have the most tests.
TEST := $(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder $(ARGS)

test: $(READY) ## run the tests that need only Python
	$(TEST) -m "not (spark or kubernetes or airflow or services or wheel)" --ignore tests/kubernetes

test-spark: $(READY) ## test the engine spark, here and on a test cluster (needs Java 17)
	$(TEST) -m spark
	$(TEST) -m kubernetes tests/e2e tests/kubernetes

test-airflow: $(READY) ## test a running Airflow and the pages in a browser (needs Chromium)
	$(TEST) -m airflow tests/e2e tests/pages

test-services: $(READY) ## test everything on Postgres, MLflow's server and S3, with faults and whole dbt builds
	$(TEST) -m services tests/stack tests/dags tests/stages tests/proving tests/impact tests/faults tests/contracts tests/unit/warehouse

test-compose: $(READY) ## test docker compose: build, health, one night, backup, restore, down
	$(BIN)/python -m scripts.compose_check

test-wheel: $(READY) ## test the built wheel: a night of the example on the core's packages alone
	$(TEST) -m wheel tests/packaging

lint: $(READY) ## check style, import layers, types and SQL: ruff, import-linter, mypy, sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/sqlfluff lint dbt/models dbt/tests

format: $(READY) ## let ruff and sqlfluff correct what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix dbt/models dbt/tests

# The tool that builds the site has an environment of its own: it needs a newer pathspec than dbt allows.
DOCS := .venv-docs
$(DOCS)/.ready: scripts/docs/requirements.txt $(READY)
	@UV=$$(command -v uv || echo $(BIN)/uv); \
	"$$UV" venv --quiet --allow-existing --python $(BIN)/python $(DOCS) && \
	"$$UV" pip sync --quiet --python $(DOCS)/bin/python --require-hashes scripts/docs/requirements.txt
	@touch $@

docs: $(DOCS)/.ready ## build the documentation's site into .site/html, and check its links
	$(BIN)/python -m scripts.docs

bench: $(READY) ## measure speed against named peers, and print tables
	$(BIN)/python -m benchmarks

clean: ## remove the environment and everything that the demo wrote
	rm -rf $(VENV) $(DOCS) .site .tailrace .mypy_cache .ruff_cache .import_linter_cache .pytest_cache dbt/target dbt/logs
