# Every target makes the environment first: .venv, from requirements.lock.
# Without a GPU:  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
PYTHON ?= python3
MODEL ?= models:/unet-real@champion
PORT ?= 5001
UI_PORT ?= 5000
# They take long, a GPU, or something that is named to them: a folder, a cache, a finished project, an environment of other tools.
ASKED := anonymeter_check anonymeter_risks audit_errors budgets copy_searches demo equal_time errors_by_kind export_tools flow_steps graphs leave_one_out models models_figure \
	near_copies nnunet_transfer private_attack private_phantom private_real private_use same_results scale shipped_membership soak soak_project validation_memory verdicts
BENCH ?= $(filter-out $(ASKED:%=benchmarks/%.py),$(wildcard benchmarks/*.py))

PARALLEL := --numprocesses logical --dist loadfile --no-loadscope-reorder

VENV := $(CURDIR)/.venv
STAMP := .venv/installed
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

export PATH := $(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION := false

.DEFAULT_GOAL := help
.PHONY: help env demo full results test test-all lint docs bench ui serve lock

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

env: $(STAMP) ## the environment in .venv

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install -q -r requirements.lock $(INDEX)
	$(PIP) install -q --no-deps -e .
	@touch $@

demo: env ## the whole experiment on drawn heads, 5 to 13 minutes on 2 cores
	python cli.py profile demo
	python cli.py repro
	python cli.py summary --show

full: env ## the same at full size, about 90 minutes; params.yaml stays at full until `make demo` or `python cli.py profile demo`
	python cli.py profile full
	python cli.py repro
	python cli.py summary --show
	@echo "params.yaml holds the profile full from now on; python cli.py profile demo goes back."

results: demo ## the demo, and its tables and figures in README.md and docs/
	python cli.py report --readme

test: env ## the tests
	python -m pytest $(PARALLEL) -m "not long"

test-all: env ## these and the long ones: services, wheels, full disks, other programs where they are installed
	python -m pytest $(PARALLEL)

lint: env ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy

docs: ## the documentation as a site, build/site/index.html, checked strictly; mkdocs gets an environment of its own
	$(PYTHON) -m venv build/docs-env
	build/docs-env/bin/python -m pip install -q --disable-pip-version-check -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 build/docs-env/bin/mkdocs build --strict

bench: env ## measure against peers: every script in benchmarks/, or BENCH=benchmarks/one.py
	@set -e; for script in $(BENCH); do echo "== $$script"; python -m benchmarks.$$(basename $$script .py); done

ui: env ## MLflow's pages on http://127.0.0.1:5000, or UI_PORT=5002
	@python cli.py ui --port $(UI_PORT)

serve: env ## a registered U-net on http://127.0.0.1:5001, MODEL=models:/unet-real@champion, or PORT=5003
	@python cli.py serve --model "$(MODEL)" --port $(PORT)

lock: ## requirements.lock anew, from pyproject.toml
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(PIP) install -q -e '.[dev]' $(INDEX)
	$(PIP) freeze --exclude-editable --exclude pip --exclude setuptools --exclude wheel \
		| sed -E 's/^(torch==[^+]*)\+.*/\1/' > requirements.lock
	@touch $(STAMP)
