# Needs Python 3.11 or newer and make; everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# One thread per numeric library and process: tests and demo start processes of their own.
export OMP_NUM_THREADS ?= 1

# Run the whole lifecycle on real data: raw rows to a model in production.
demo: .venv/ready
	$(BIN)/stratal demo

# Run the tests.
test: .venv/ready .azurite/ready
	$(BIN)/pytest -n 2 --dist loadgroup -q tests

# Run the longest fault loops: 1,000 kills of writers, uploaders, servers and compactors; databases and object stores that go away.
test-long: .venv/ready
	STRATAL_TEST_KILLS=1000 $(BIN)/pytest -q -s tests/faults/test_remote_kills.py tests/server/test_mlflow_kills.py
	STRATAL_TEST_RESTARTS=25 $(BIN)/pytest -q -s tests/faults/test_postgres_under_servers.py
	STRATAL_TEST_SERVER_KILLS=50 $(BIN)/pytest -q -s tests/faults/test_several_servers.py
	STRATAL_TEST_FULL=10 $(BIN)/pytest -q -s tests/faults/test_full_servers.py
	STRATAL_TEST_AWAY_S=60 $(BIN)/pytest -q -s tests/faults/test_objects_away.py

# Run lint, types and the architecture contracts.
check: .venv/ready
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/architecture

# Run every benchmark beside its peers (their environments are made under bench/.peers).
bench: .venv/ready
	for script in $(filter-out bench/peer%,$(wildcard bench/*.py)); do $(BIN)/python $$script || exit 1; done

# Remove what these commands made, but not your store.
clean:
	rm -rf .venv .azurite build dist bench/.peers .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# Azurite is a real Azure Blob Storage: where npm cannot install it, the tests on it are skipped.
.azurite/ready:
	mkdir -p $(@D)
	npm install --silent --no-audit --no-fund --no-save --prefix $(@D) azurite@3.37.0 && touch $@ || echo "no Azurite: the tests on Azure are skipped"

.PHONY: demo test test-long check bench clean
