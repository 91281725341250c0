# Everything that one does with a checkout. `make demo` and `make test` set up what they need: a virtual environment in
# .venv, the package built in place, and, as root on Debian, the system's packages that are missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := setup.py $(wildcard ext/src/* ext/ztsession/*)
SANITIZED := build/sanitized
# Workers of a test run; PYTEST takes further options, for example: make test PYTEST="-n 0 -k replay"
PYTEST ?= -n 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint sanitize verify-long bench bench-quick docs attacks matrix clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ready-all  ## a trading firm in one terminal: sessions, orders, signals, an intruder, attacks
	@$(BIN)/ztsession demo

test: ready-test $(VENV)/.parts  ## the whole test suite
	$(BIN)/python -m pytest $(PYTEST)

lint: ready-test ready-quality  ## style, types, stubs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint ext tests/embedding
	$(BIN)/python -m pytest -n 0 tests/quality

# A copy of the tree, so that the build without sanitizers stays what it is. The recipe: CPython from a plain build takes
# the runtimes by LD_PRELOAD; its own allocator would hide errors; it leaks on purpose at exit. Programs of the system do
# not start with the runtimes in them, so those that tests use are called without.
sanitize: export ZTS_SANITIZED := 1
sanitize: ready-test $(VENV)/.parts  ## the whole test suite on a build with AddressSanitizer and UndefinedBehaviorSanitizer
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)
	tar -c --exclude='*.so' --exclude=__pycache__ $(TREE) | tar -x -C $(SANITIZED)
	cd $(SANITIZED) && CFLAGS="$(SANITIZE) -fno-omit-frame-pointer -g -O1" LDFLAGS="$(SANITIZE)" \
	    $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	mkdir -p $(SANITIZED)/bin
	for tool in $$(ls /usr/bin/swtpm* /usr/bin/tpm2* /usr/bin/softhsm2-util 2>/dev/null); do \
	    printf '#!/bin/sh\nunset LD_PRELOAD\nexec %s "$$@"\n' "$$tool" >$(SANITIZED)/bin/$${tool##*/}; done
	chmod -R +x $(SANITIZED)/bin
	cd $(SANITIZED) && PATH="$$PWD/bin:$$PATH" PYTHONPATH="$$PWD" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    $(CURDIR)/$(BIN)/python -m pytest $(PYTEST)

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined
TREE := pyproject.toml setup.py ztsession ext tests benchmarks docs README.md CHANGELOG.md LICENSE Makefile

# Without CI in the environment hypothesis draws new examples each time. ZTS_LONG asks tests for a longer form, if they have one.
verify-long: export ZTS_LONG := 1
verify-long: ready-test  ## the suite, plain and sanitized, again and again with new random examples: ROUNDS=20
	for round in $$(seq $(ROUNDS)); do \
	    echo "==== round $$round of $(ROUNDS)"; \
	    env -u CI make --no-print-directory test sanitize || exit 1; \
	done

ROUNDS ?= 20

bench: ready-bench $(VENV)/.parts  ## the performance report: tables, JSON and a picture in benchmarks/out
	$(BIN)/python -m benchmarks

bench-quick: ready-bench  ## the same, small: to see that it works
	$(BIN)/python -m benchmarks --quick

docs: ready-docs  ## the documentation, in build/docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

attacks: ready-test  ## write the table of attacks and their tests in docs/threat-model.md anew
	$(BIN)/python -m tests.docs.attack_table

matrix: ready-test  ## write the tables of what becomes of a call in docs/policy.md anew
	$(BIN)/python -m tests.docs.matrix_table

clean:  ## remove everything that was built, the virtual environment too
	rm -rf build dist *.egg-info $(VENV) .mypy_cache .ruff_cache .hypothesis .benchmarks benchmarks/out
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f ztsession/*.so

# ---- Setting up ----------------------------------------------------------------------------------------------------

# Two steps in two makes: the first may bring the second up to date, which make would not notice by itself.
ready-%:
	@$(MAKE) --silent --no-print-directory $(VENV)/.with-$*
	@$(MAKE) --silent --no-print-directory $(VENV)/.built

# The package, editable, with one of its extras.
$(VENV)/.with-%: pyproject.toml | $(VENV)/.made
	@echo "installing ztsession[$*] into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(VENV)/.built

$(VENV)/.built: $(SOURCES)
	@echo "building the extension modules"
	@if $(BIN)/python -c 'import Cython, setuptools' 2>/dev/null; then $(BIN)/python setup.py -q build_ext --inplace; \
	else $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .; fi
	@touch $@

# A software TPM and a software HSM, for the tests that use one. Without them these are skipped, each with a sentence.
PARTS := swtpm swtpm-tools tpm2-tools softhsm2

$(VENV)/.parts: | $(VENV)/.made
	@if command -v swtpm >/dev/null && command -v tpm2_quote >/dev/null && command -v softhsm2-util >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $(PARTS)"; \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qq --yes --no-install-recommends $(PARTS) >/dev/null; } || echo "going on without $(PARTS)"; \
	else echo "for the tests with a software TPM and HSM, install (Debian's names): $(PARTS)"; fi
	@touch $@

$(VENV)/.made:
	@$(NEEDS); if [ -n "$$missing" ]; then $(INSTALL); fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo >&2 \
	    "ztsession needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): say make PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# Asked by what they do and not by name, because a Python of one's own brings its headers and its venv along.
define NEEDS
missing=; \
command -v $(PYTHON) >/dev/null || missing="python3 python3-venv python3-dev"; \
command -v gcc >/dev/null || missing="$$missing gcc"; \
{ command -v gcc >/dev/null && echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; } || missing="$$missing libc6-dev"; \
if command -v $(PYTHON) >/dev/null; then \
    $(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
    $(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
        || missing="$$missing python3-dev"; \
fi
endef

define INSTALL
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "installing $$missing"; \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $$missing; \
else \
    echo >&2 "ztsession needs these packages (Debian's names), please install:$$missing"; exit 1; \
fi
endef
