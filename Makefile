# `make demo` and `make test` are all a newcomer needs; each sets up what it needs first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
# Without bytecode each of the hundreds of processes of a test run compiles what it imports anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: setup demo test test-lowest test-neighbours test-image test-redis test-clouds test-cluster bench simulate torture session lint audit docs deploy dist clean

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys, venv, ensurepip; sys.version_info >= (3, 11) and print(sys.executable)' 2>/dev/null)))
SOURCES := $(shell find js/src js/schema -type f) js/build.mjs
BUNDLE := cortex_jupyter/notebook/static/viewer.js
PYTEST := $(BIN)/python -m pytest -q

# $(call need,COMMAND,DEBIAN PACKAGE): find a program or, where we are root on Debian or Ubuntu, install it.
need = command -v $(1) >/dev/null || { \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing $(2)"; apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; \
	else echo "'$(1)' is missing: install it (Debian and Ubuntu: apt-get install $(2))" >&2; exit 1; fi; }

setup: $(VENV)/.stamp $(BUNDLE)

$(VENV)/.stamp: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer with venv is missing (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt hatchling hatch-jupyter-builder editables
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[test]'
	# An editable install places no shared data, so both extensions are put in their places by hand.
	install -D -m 644 cortex_jupyter/etc/cortex_jupyter.json $(VENV)/etc/jupyter/jupyter_server_config.d/cortex_jupyter.json
	mkdir -p $(VENV)/share/jupyter/labextensions
	ln -sfn $(CURDIR)/cortex_jupyter/labextension $(VENV)/share/jupyter/labextensions/cortex-jupyter
	touch $@

# Turns itself on in every JupyterLab of an environment, so it has a folder of its own.
$(VENV)/collaboration: constraints.txt $(VENV)/.stamp
	rm -rf $@
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -c constraints.txt --target $@ jupyter-collaboration-ui \
		jupyter-docprovider jupyter-server-fileid jupyter-server-ydoc jupyter-ydoc pycrdt pycrdt-store pycrdt-websocket sqlite-anyio
	touch $@

# Helm's own engine, and the schemas of Kubernetes: 190 MB for the tests of deploy/ alone.
$(VENV)/deploy: constraints.txt $(VENV)/.stamp
	rm -rf $@
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -c constraints.txt --target $@ \
		"helm-python-sdk; platform_machine == 'x86_64'" kubernetes-validate importlib-resources
	rm -f $@/helm_python/lib/libhelm_c.so.0* # the same file under two more names
	touch $@

js/node_modules/.stamp: js/package.json js/package-lock.json
	@$(call need,npm,nodejs npm)
	cd js && npm ci --silent --no-audit --no-fund
	touch $@

$(BUNDLE): js/node_modules/.stamp $(SOURCES)
	cd js && npm run --silent build
	touch $@

# ARGS="--port 8899 --no-browser" is passed on; without KUBECONFIG the embedded sandbox cluster is used.
demo: setup
	$(BIN)/cortex-jupyter demo $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd js && npm run --silent lint

# Known faults of what is pinned; where no database of them can be reached that is said, and is no failure.
audit: setup js/node_modules/.stamp
	# No part of what is tested, so it has a folder of its own.
	@[ -d $(VENV)/audit ] || $(BIN)/pip install -q --disable-pip-version-check --target $(VENV)/audit pip-audit || rm -rf $(VENV)/audit
	@PYTHONPATH=$(VENV)/audit $(BIN)/python tests/audit/main.py

# Most tests wait for processes of theirs, so four run at once; a browser wants a core for itself.
test: lint $(VENV)/collaboration $(VENV)/deploy
	@$(call need,chromium,chromium)
	@$(call need,kubectl,kubectl)
	@$(call need,valkey-server,valkey-server)
	@$(call need,redis-check-rdb,redis-tools)
	cd js && npm test --silent
	env -u KUBECONFIG $(PYTEST) -m 'not cluster' -n 4 --dist loadfile --ignore tests/browser $(TESTARGS)
	env -u KUBECONFIG $(PYTEST) -n 2 --dist loadfile tests/browser $(TESTARGS)

# Old releases exist for the oldest Python alone. What they, or Python, have deprecated since is not ours to mend.
LOWEST := $(VENV)/lowest
OLDEST_PYTHON ?= python3.11
CALM := -W default::DeprecationWarning -W default::PendingDeprecationWarning -W default::FutureWarning

$(LOWEST)/.stamp: pyproject.toml tests/environments/lowest.py $(VENV)/.stamp
	$(BIN)/uv venv -q --clear --seed --python $(OLDEST_PYTHON) $(LOWEST)
	$(BIN)/python tests/environments/lowest.py >$(LOWEST)/pins.txt
	$(BIN)/uv pip install -q --python $(LOWEST) -c $(LOWEST)/pins.txt hatchling hatch-jupyter-builder editables
	HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(BIN)/uv pip install -q --python $(LOWEST) --no-build-isolation -c $(LOWEST)/pins.txt -e '.[test]'
	install -D -m 644 cortex_jupyter/etc/cortex_jupyter.json $(LOWEST)/etc/jupyter/jupyter_server_config.d/cortex_jupyter.json
	mkdir -p $(LOWEST)/share/jupyter/labextensions
	ln -sfn $(CURDIR)/cortex_jupyter/labextension $(LOWEST)/share/jupyter/labextensions/cortex-jupyter
	touch $@

# The Python tests with the oldest release of each dependency that pyproject.toml admits (docs/reference/environments.md).
# The release before, which some tests start beside this one, needs newer ones.
test-lowest: setup $(LOWEST)/.stamp
	@$(call need,kubectl,kubectl)
	@$(call need,valkey-server,valkey-server)
	@$(call need,redis-check-rdb,redis-tools)
	env -u KUBECONFIG CORTEX_TEST_OLD=1 PATH=$(CURDIR)/$(LOWEST)/bin:$$PATH $(LOWEST)/bin/python -m pytest -q -m 'not cluster' -n 4 --dist loadfile \
		$(CALM) --ignore tests/browser --ignore tests/test_dependencies.py \
		--ignore tests/cli/test_neighbours.py --ignore tests/cli/test_neighbours_valkey.py $(TESTARGS)

# We, and the newest release of each package that our users have: resolved, not installed. ARGS="kfp mlrun" takes some.
test-neighbours: setup
	$(BIN)/python tests/environments/neighbours.py $(ARGS)

# Installed into an older JupyterHub image, none of whose packages may move, and used there.
test-image: setup
	$(OLDEST_PYTHON) -c 'import venv'
	$(BIN)/python tests/environments/hub_image.py --python $(OLDEST_PYTHON)

# The same assumptions and the main job, on the cluster that KUBECONFIG names.
test-cluster: setup $(VENV)/deploy
	@[ -n "$${KUBECONFIG:-}" ] || { echo "KUBECONFIG names no cluster" >&2; exit 1; }
	@$(call need,chromium,chromium)
	CORTEX_TEST_CLUSTER=real $(PYTEST) tests/conformance tests/e2e tests/recorder/test_manifests.py tests/deploy/test_real.py $(TESTARGS)

# All that is promised of Valkey, on Redis; `make test` tries there what a store promises and what only a server can do.
test-redis: setup
	@$(call need,redis-check-rdb,redis-tools)
	env -u KUBECONFIG CORTEX_TEST_SERVER=redis-server $(PYTEST) tests/store tests/recorder tests/reader tests/faults/test_valkey.py tests/e2e/test_valkey.py $(TESTARGS)

# The archive on S3, GCS and Azure; azurite is large, and installed for as long as it takes.
test-clouds: setup
	@$(call need,npm,nodejs npm)
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	npm install --prefix "$$folder" --silent --no-audit --no-fund --no-package-lock azurite@3.37.0; \
	env -u KUBECONFIG CORTEX_TEST_CLOUDS="s3 gs az" CORTEX_TEST_AZURITE="$$folder/node_modules/.bin/azurite-blob" \
		$(PYTEST) tests/archive/test_clouds.py tests/server/test_archived.py $(TESTARGS)

bench: setup
	@$(call need,chromium,chromium)
	@$(call need,kubectl,kubectl)
	@$(call need,valkey-server,valkey-server)
	$(BIN)/python tests/bench/main.py $(ARGS)

# What a fleet needs, by its size; ARGS=--help says what can be asked.
simulate: setup
	@case "$(ARGS)" in *--measure*|*--check*) $(call need,valkey-server,valkey-server);; esac
	@env -u KUBECONFIG $(BIN)/python tests/simulate/main.py $(ARGS)

# 60 000 lines through rotation and kills, beside kubectl, then ten minutes of a bad network; on the cluster that KUBECONFIG
# names, else on the sandbox.
torture: setup
	@$(call need,kubectl,kubectl)
	$(BIN)/python tests/torture/main.py $(ARGS)
	$(BIN)/python tests/torture/network.py

# An hour of an open notebook: kernel and server restart, sleep, upgrade, a hung worker and more. ARGS=MINUTES.
session: setup
	@$(call need,chromium,chromium)
	@env -u KUBECONFIG $(BIN)/python tests/torture/session.py $(ARGS)

# The API reference, from the docstrings, into docs/reference/api.
docs: setup
	$(BIN)/python docs/reference.py

# The kustomize base and components, and the Helm chart, from the templates of `record --manifests`.
deploy: setup
	$(BIN)/python deploy/generate.py

# Sdist and wheel, of a viewer that is as new as its sources: `python -m build` alone takes the one that lies there.
dist: setup
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf docs/reference/api $(VENV) js/node_modules cortex_jupyter/notebook/static cortex_jupyter/labextension dist build
