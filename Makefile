# Everything runs in its own environment, .venv, pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
export OMP_WAIT_POLICY ?= PASSIVE

# The images' base, and another one for the trainer with wheels for it (images/README.md).
DOCKER ?= docker
BASE ?= python:3.11-slim
TRAINER_BASE ?= $(BASE)
TRAINER_WHEELS ?= build/wheels
# Not exported: tests call `make images` with another base, from which the trainer's must follow.
IMAGE_SETTINGS = DOCKER=$(DOCKER) BASE=$(BASE) TRAINER_BASE=$(TRAINER_BASE) TRAINER_WHEELS=$(TRAINER_WHEELS)

.PHONY: quickstart setup test test-all check format specs constraints images wheels base-image clean

quickstart: $(VENV)/.ready
	$(BIN)/switchpoint run pipelines/recipes/quickstart.yaml

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

test: $(VENV)/.ready
	$(BIN)/pytest -m 'not slow'

test-all: $(VENV)/.ready
	$(BIN)/pytest

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

specs: $(VENV)/.ready
	$(BIN)/switchpoint compile

# After a change of a version in pyproject.toml: resolve anew and write down what came out.
constraints:
	rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -e '.[dev]'
	$(BIN)/pip freeze --all --exclude-editable | sed '/^pip==/d; s/+cpu$$//' > constraints.txt

images: wheels
	$(IMAGE_SETTINGS) images/build.sh pipeline switchpoint-python:$(VERSION)
	$(IMAGE_SETTINGS) images/build.sh trainer switchpoint-trainer:$(VERSION)

wheels:
	PYTHON=$(PYTHON) images/wheels.sh

# Where there is no registry: make base-image images BASE=localhost/python:3.11
base-image:
	$(IMAGE_SETTINGS) images/base.sh $(BASE)

clean:
	rm -rf $(VENV) .switchpoint build *.egg-info
