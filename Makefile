# Relative paths only: the project may stand in a directory whose name has a space.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo test test-code test-system chaos bench fuzz openapi baseline docs map check lock audit clean

# Where nothing compiled is kept, each of the many processes of a test run compiles ours anew.
unexport PYTHONDONTWRITEBYTECODE

PIP := .venv/bin/python -m pip --disable-pip-version-check
# Settings for tools that read them and open no connection.
NO_SERVERS := SECRET_KEY=check DATABASE_URL=postgresql:///check REDIS_URL=redis://check

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

run: .venv/.embedded ## everything in the foreground on this machine, until Ctrl-C
	@.venv/bin/python -m devstack run

demo: .venv/.embedded ## the same with a sample run of 1,000 inputs; ends when that ends
	@.venv/bin/python -m devstack demo

PYTEST := .venv/bin/python -m pytest
CODE := -o cache_dir=.pytest_cache/code --ignore=tests/system
SYSTEM := -o cache_dir=.pytest_cache/system tests/system
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
# Exit status 1 means that all ran and some failed: those are tried once more, alone. After anything else there is nothing
# to try again.
UNLESS_SOME_FAILED = || test $$? = 1
AGAIN = ! grep -qs : .pytest_cache/$(1)/v/cache/lastfailed || $(PYTEST) --last-failed --last-failed-no-failures none

test: .venv/.dev ## the whole suite, on servers of its own
	.venv/bin/python -m tests.nginx
	@rm -rf .pytest_cache
	@$(MAKE) --no-print-directory --keep-going --jobs=2 test-code test-system
	@$(call AGAIN,code) $(CODE)
	@$(call AGAIN,system) $(SYSTEM)

# An installation waits half of the time, and what it waits for is told by clocks. The other tests take the processor
# where it leaves some, and what comes before them too.
test-code: check
	.venv/bin/python -m tests.browser.chromium
	nice -n 5 $(PYTEST) $(SIDE_BY_SIDE) $(CODE) $(UNLESS_SOME_FAILED)

test-system:
	$(PYTEST) $(SIDE_BY_SIDE) $(SYSTEM) $(UNLESS_SOME_FAILED)

chaos: .venv/.dev ## the long version of the tests that kill: some minutes, with a seed that CHAOS_SEED=N repeats
	@.venv/bin/python -m tests.system.chaos
	@.venv/bin/python -m pytest -q -m long tests/system
	@.venv/bin/python -m pytest -q --hypothesis-profile=long tests/runs/test_life_of_runs.py

bench: .venv/.embedded .venv-peers/.installed ## measure anew what docs/performance.md says: an hour, alone on the machine
	@.venv/bin/python -m benchmarks
fuzz: .venv/.dev ## Schemathesis against a server of its own for SECONDS (600), with a seed that SEED=N repeats
	@.venv/bin/python -m tests.system.fuzzing --seconds $(or $(SECONDS),600)

check: .venv/.dev ## style, types and the import contract
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	$(NO_SERVERS) .venv/bin/python -m mypy
	.venv/bin/lint-imports

openapi: .venv/.dev ## write docs/openapi.json anew, the OpenAPI document of what comes with Runyard
	@env -u RUNYARD_ACTIONS $(NO_SERVERS) .venv/bin/python manage.py openapi > docs/openapi.json

baseline: openapi ## at a release: later documents may break no client of this one
	@cp docs/openapi.json docs/openapi-baseline.json

docs: .venv/.dev ## the guides as a site, in .artifacts/site
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

map: .venv/.dev ## draw anew what the documents draw of the code
	@.venv/bin/python -m docs.site.import_map
	@$(NO_SERVERS) .venv/bin/python -m docs.site.lifecycle

COMPILE = .venv/bin/uv pip compile pyproject.toml --no-header --annotation-style line -q -p 3.11 \
	--no-emit-index-url --no-emit-find-links --generate-hashes

lock: .venv/.dev ## resolve requirements*.txt anew from pyproject.toml
	$(PIP) install -q uv
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --upgrade -c requirements.txt --extra embedded -o requirements-embedded.txt
	$(COMPILE) --upgrade -c requirements.txt --extra embedded --extra tracing --extra dev -o requirements-dev.txt

# Strict: a package that the source of advisories does not tell of is no package without a hole.
audit: .venv/.dev ## look up known holes in what is installed; asks pypi.org
	.venv/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
	    -r requirements.txt -r requirements-embedded.txt -r requirements-dev.txt

clean: ## remove the virtual environment and caches; the state in .runyard stays
	rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage* htmlcov staticfiles
	find . -name __pycache__ -type d -not -path './.runyard/*' -prune -exec rm -rf {} +

.venv/bin/python:
	@echo "Making a virtual environment in .venv"
	@for python in python3.11 python3.12 python3.13 python3; do \
	    if command -v $$python > /dev/null \
	        && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then exec $$python -m venv .venv; fi; \
	done; echo "Runyard needs Python 3.11 or newer" >&2; exit 1

# As constraints too: with hashes pip takes what is pinned for a package, and not for the same one with extras.
.venv/.embedded: requirements-embedded.txt | .venv/bin/python
	@echo "Installing the packages of $< (a minute or two, once)"
	@$(PIP) install -r $< -c $<
	@touch $@

.venv-peers/.installed: benchmarks/peers/requirements.txt | .venv/bin/python
	@echo "Installing the packages of $< (a minute, once)"
	@.venv/bin/python -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check install -r $< -c $<
	@touch $@

.venv/.dev: requirements-dev.txt | .venv/bin/python
	@echo "Installing the packages of $< (a minute or two, once)"
	@$(PIP) install -r $< -c $<
	@touch $@
