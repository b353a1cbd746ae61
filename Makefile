# Everything is made from here. It needs Python 3.11 or newer, make and git; `make help` lists what there is.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BOOK := _build/html/.complete
AXE := tests/node_modules/axe-core/axe.min.js

# Tests run in as many processes. Those of a file share one, and what is made for them.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

PACKAGE := $(shell find cookbook_utils -name '*.py' -o -name '*.cu')
PAGES := intro.md glossary.md reference.rst performance.md colophon.md references.bib $(wildcard notebooks/*.ipynb workshop/*.md)
BENCHMARKS := $(wildcard benchmarks/*.py benchmarks/*.json benchmarks/results/*.json)
LOOKS := _config.yml _toc.yml $(wildcard _ext/*.py _static/* _templates/*.html _templates/*/*)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env book lint check test lab data overview bench bench-full workshop links lock clean FORCE

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

env: $(VENV)/.project  ## Install the environment, and nothing else

book: $(BOOK)  ## Fetch the real images if there is a network, execute every chapter and render the book
	@echo "The book is ready: open _build/html/index.html in a browser."

lint: $(VENV)/.project  ## Check the style of code and notebooks with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint data/simulated/.complete  ## Run ruff, and the tests that are fast and need no book
	$(PYTEST) -m "not slow"

test: lint $(BOOK) $(AXE)  ## Run ruff, and every test, those of the built book included
	$(PYTEST)

# Without npm or a network, the tests that need axe-core are skipped and say so.
$(AXE): tests/package-lock.json
	-npm ci --prefix tests --ignore-scripts --no-audit --no-fund --silent && touch $@

lab: $(VENV)/.project data/simulated/.complete  ## Open the chapters in JupyterLab
	$(BIN)/python -m jupyterlab --notebook-dir=notebooks

data: $(VENV)/.project  ## Download the real images once, each checked against its hash
	$(BIN)/python -m cookbook_utils.datasets

overview: data/simulated/.complete  ## Draw the picture of the README anew from what Chapter 5 computes
	$(BIN)/python -m tests.overview

bench: data/simulated/.complete  ## Measure the package beside its peers: minutes, on an idle machine
	$(BIN)/python -m benchmarks

bench-full: data/simulated/.complete data/simulated/coast_series  ## The same at larger sizes: an hour (2.6 GB of scenes)
	$(BIN)/python -m benchmarks --full

# make workshop PYTHONS="3.12 3.13" PLATFORMS="linux windows"
PYTHONS ?= 3.12
PLATFORMS ?= linux macos windows
workshop: $(BOOK)  ## Pack book, chapters, learners' copies, data and wheels in one archive (needs a network)
	$(BIN)/python -m workshop.archive --pythons $(PYTHONS) --platforms $(PLATFORMS)

links: data/simulated/.complete  ## Check every link to another site (needs a network)
	$(BIN)/jupyter-book build . --builder linkcheck --path-output .build/links

lock: $(VENV)/.project  ## Resolve the dependencies in pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes \
		--no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock

clean:  ## Remove what was built; the environment and the downloaded images stay
	rm -rf _build .build reference data/simulated tests/node_modules .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Each step leaves a stamp when it has come to its end, and never before: one that was interrupted is
# done again from its beginning. An environment remembers where it was made, so one that was moved
# or copied is made again too.
ifneq ($(shell cat $(VENV)/.packages 2>/dev/null),$(CURDIR))
$(VENV)/.packages: FORCE
endif
$(VENV)/.packages: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "The cookbook needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one, for example: make book PYTHON=python3.12"; exit 1; } >&2
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements.lock names: a few minutes, the first time only."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes \
		--requirement requirements.lock
	@echo "$(CURDIR)" > $@

$(VENV)/.project: $(VENV)/.packages pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps \
		--no-build-isolation --editable .
	@touch $@

SIMULATION := $(wildcard cookbook_utils/simulate/*.py) cookbook_utils/_files.py $(wildcard cookbook_utils/shards/*.py)
data/simulated/.complete: $(VENV)/.packages $(SIMULATION) | $(VENV)/.project
	$(BIN)/python -m cookbook_utils.simulate
	@touch $@

# A folder of scenes takes its name when it is complete.
data/simulated/coast_series: | $(VENV)/.project
	$(BIN)/python -m cookbook_utils.simulate coast_series

# The chapters show the real images where they are at hand: fetch them where there is a network, and
# remember which there were.
.build/real-images: FORCE | $(VENV)/.project
	@mkdir -p $(@D)
	@$(BIN)/python -m cookbook_utils.datasets --if-online
	@new=$@.$$$$; printf '%s\n' '$(COOKBOOK_DATA)' data/downloads/*/* > $$new; \
		cmp -s $$new $@ && rm $$new || mv $$new $@

# An executed chapter is kept until its code changes (Jupyter Book sees to that) or anything that it
# was computed from: the package, the data, the versions.
_build/.computed-from: $(VENV)/.packages $(PACKAGE) $(wildcard data/*.*) \
		data/simulated/.complete .build/real-images $(BENCHMARKS) | $(VENV)/.project
	rm -rf _build
	@mkdir -p $(@D)
	@touch $@

# The pages are read anew each time (--all), because a second run would not repeat a warning.
$(BOOK): _build/.computed-from $(PAGES) $(LOOKS)
	rm -rf _build/html
	$(BIN)/jupyter-book build . --all -W --keep-going
	@touch $@
