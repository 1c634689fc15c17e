# make serve    start Triton, a model and the gateway
# make test     run the tests
# make bench    what the gateway costs beside a naive one; with PEERS=1, beside SMG and Dynamo
# make check    lint, formatting, types, and whether protos/ would break its callers
# make protos   generate gateway/v1 from protos/
# make web      fetch the libraries that the chat page bundles
# make pictures take the pictures in docs/ anew
# make install  only make .venv, from the pinned list
# make lock     resolve that list again after pyproject.toml changed
# ARGS="..." is passed on to what serve, test and bench run.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
UV := $(BIN)/uv
INSTALLED := .venv/installed
LOCK := requirements/lock.txt

# uv does not read pip's configuration: hand it the index that pip is set to, if any.
PIP_INDEX = $$($(BIN)/python -m pip config get global.index-url 2>/dev/null || true)
WITH_INDEX = index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$(PIP_INDEX)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi;

.PHONY: serve test bench check protos web pictures install lock

serve: install
	$(BIN)/gateway up $(ARGS)

test: install
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m tests.rings
else
	$(BIN)/pytest $(ARGS)
endif

bench: install
	$(BIN)/python -m bench $(if $(PEERS),--peers) $(ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against protos/api.binpb

protos: install
	$(BIN)/buf breaking protos --against protos/api.binpb
	$(BIN)/buf build protos --exclude-source-info --output protos/api.binpb
	$(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=. --pyi_out=. \
		--grpc_python_out=. protos/gateway/v1/*.proto

web: install
	$(BIN)/python requirements/web.py

pictures: install
	GATEWAY_PICTURES=1 $(BIN)/pytest tests/e2e/test_chat_page_looks.py -k pictures

install: $(INSTALLED)

lock: $(UV)
	@$(WITH_INDEX) $(UV) pip compile pyproject.toml --all-extras --universal \
		--python-version 3.10 --generate-hashes --no-annotate --no-header \
		--quiet --output-file $(LOCK)
	@$(WITH_INDEX) $(UV) pip compile pyproject.toml --universal \
		--python-version 3.10 --generate-hashes --no-annotate --no-header \
		--quiet --constraint $(LOCK) --output-file requirements/runtime.txt

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.10 to 3.13 is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv

$(UV): requirements/uv.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/uv.txt
	@touch $@

$(INSTALLED): $(LOCK) pyproject.toml $(UV)
	@$(WITH_INDEX) VIRTUAL_ENV=.venv $(UV) pip sync --compile-bytecode --require-hashes $(LOCK) || \
		$(BIN)/python -m pip install --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --editable .
	@touch $@
