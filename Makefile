# Each target does all of its own set-up: a .venv in this folder, made once, and again when the requirements change.
# Another Python than python3: make PYTHON=/path/to/python3.13 …

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
PEERS := .venv-peers/.ready

.PHONY: help setup demo test lint docs verify bench reproduce clean

help: ## the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1 - /p' Makefile

setup: $(READY) ## build .venv and install everything into it

$(READY): settings.ini setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastcnn needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): give another with make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@echo "setup: installing into .venv (some minutes and 8 GB the first time)"
	@$(PYTHON) -m venv .venv || { echo "setup: $(PYTHON) cannot make a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@$(PY) -m pip install -qq --editable '.[dev]'
	@touch $@

demo: $(READY) ## the whole way once, offline: images, cleaning, training, report (in _demo/)
	@$(PY) -m fastcnn demo --out _demo

test: $(READY) ## checks, tests and notebooks; the last line counts them
	@OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2

lint: $(READY) ## ruff, biome and node's tests, which make test runs too
	@$(PY) tools/lint.py

docs: $(READY) ## the documentation site, in _docs/
	@$(PY) tools/docs.py _docs

reproduce: $(READY) ## the figures of the README and of the articles again (some hours)
	@$(PY) tools/reproduce.py

verify: $(READY) $(PEERS) ## the long checks, all of them: lessons, kills, scale, more than one machine; results in bench/results/verify.json
	@$(PY) -m pytest --verify $(ARGS)

bench: $(READY) $(PEERS) ## side by side with other tools; results in bench/results/
	@$(PY) bench/download.py
	@$(PY) bench/duplicates.py
	@$(PY) bench/activation_stats.py
	@$(PY) bench/batches.py
	@$(PY) bench/fit_fast.py
	@$(PY) bench/ladder.py
	@$(PY) bench/ablation.py
	@$(PY) bench/scale.py
	@$(PY) bench/distributed.py
	@$(PY) bench/predict.py
	@$(PY) bench/layouts.py
	@$(PY) bench/page.py
	@$(PY) bench/plans.py
	@$(PY) bench/label_errors.py
	@$(PY) bench/novelty.py
	@$(PY) bench/teaching.py
	@$(PY) bench/suspects.py
	@$(PY) bench/beyond.py

$(PEERS): bench/peers.txt
	@echo "setup: installing the tools to compare with into .venv-peers"
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq -r bench/peers.txt
	@touch $@

clean: ## remove what the other targets made, except the environments
	@rm -rf _demo _docs _proc build dist .pytest_cache
