# Every target sets up what it needs: a .venv from uv.lock. Python 3.11+ and make are all it asks for.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Compiled bytecode halves the start-up time of every task and command.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up down logs backup restore secrets test test-spark test-airflow test-services test-compose lint format bench clean

help: ## what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## the environment in .venv, from uv.lock

$(READY): uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Tailrace needs Python 3.11 to 3.13; $(PYTHON) is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@UV=$$(command -v uv || true); \
	if [ -z "$$UV" ]; then $(BIN)/python -m pip install --quiet uv && UV=$(BIN)/uv; fi; \
	VIRTUAL_ENV=$(VENV) "$$UV" sync --frozen --inexact --all-extras --python $(BIN)/python
	@touch $@

demo: $(READY) ## ten weeks of flights through the whole loop, on Airflow (about 3 minutes)
	$(BIN)/python -m scripts.demo

up: $(READY) ## Airflow and MLflow on the demo's data, until Ctrl-C
	$(BIN)/python -m scripts.up

down: $(READY) ## end what `make up` started, wherever that was
	$(BIN)/python -m scripts.down

logs: ## follow what the processes of `make up` say
	tail -n 20 -F $${TAILRACE_HOME:-.tailrace}/airflow/processes/*.log

backup: $(READY) ## copy metadata, registry and lake: make backup [TO=folder]
	$(BIN)/python -m scripts.backup $(or $(TO),backups/$(shell date -u +%Y%m%dT%H%M%SZ))

restore: $(READY) ## put a backup back: make restore FROM=folder [OVER=yes]
	$(BIN)/python -m scripts.restore $(or $(FROM),$(error name the backup: make restore FROM=folder)) $(if $(filter yes,$(OVER)),--over)

secrets: $(READY) ## random passwords for docker compose up, in .env
	$(BIN)/python -m scripts.make_secrets

# Three at a time on two cores: many wait for Airflow, and loadscope keeps a file's fixtures together. The longest files
# come first (tests/conftest.py), which pytest-xdist would undo: it takes many tests for a long time.
TEST := $(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder $(ARGS)

test: $(READY) ## the tests that need nothing but Python
	$(TEST) -m "not (spark or kubernetes or airflow or services)" --ignore tests/kubernetes

test-spark: $(READY) ## the engine spark, on this machine and on a test cluster (needs Java 17)
	$(TEST) -m spark
	$(TEST) -m kubernetes tests/e2e tests/kubernetes

test-airflow: $(READY) ## an operator at work in a running Airflow and a browser (needs Chromium)
	$(TEST) -m airflow tests/e2e tests/pages

test-services: $(READY) ## the whole loop on Postgres, MLflow's server and an S3 endpoint, and faults
	$(TEST) -m services tests/stack tests/dags

test-compose: $(READY) ## docker compose up for real: build, health, one night, down
	$(BIN)/python -m scripts.compose_check

lint: $(READY) ## ruff, import-linter, mypy, sqlfluff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/sqlfluff lint dbt/models dbt/tests

format: $(READY) ## rewrite what ruff and sqlfluff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix dbt/models dbt/tests

bench: $(READY) ## speed against named peers, printed as tables
	$(BIN)/python -m benchmarks

clean: ## remove the environment and everything the demo wrote
	rm -rf $(VENV) .tailrace .mypy_cache .ruff_cache .import_linter_cache .pytest_cache dbt/target dbt/logs
