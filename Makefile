# Set-up happens once; everything else is a line.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: setup demo test lint bench proto

setup: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/handrail demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	$(BIN)/python bench/overhead.py

proto: $(VENV)/.installed-dev
	$(BIN)/python -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. gateway/oip/inference.proto

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
