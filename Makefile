# Two commands: make demo, make test. Each does all set-up on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# tests with a broker mostly wait
BROKER_WORKERS ?= 3
SOAK_MINUTES ?= 60
SOAK_SEED ?= 1000000

.PHONY: setup compiled demo test check quick simulation mutations soak broker bench lock clean faults

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m atp.compiled
	touch $@

setup: .venv/.ready ## leaves .venv/bin/atp

compiled: setup ## the inner loop through a C compiler, where its sources have changed and there is one
	$(BIN)/python -m atp.compiled

demo: compiled ## a quarter of real retail through broker and worker, checked against an independent fold
	$(BIN)/atp demo

check: setup ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

quick: setup ## tests without a broker
	$(BIN)/pytest -q -n $(WORKERS) --dist loadfile tests/unit tests/lane tests/mutations -m "not kafka and not slow"

simulation: setup ## thousands of simulated runs of the lane, each with its own faults
	WORKERS=$(WORKERS) $(BIN)/pytest -q tests/simulation

mutations: setup ## known bugs put back one at a time: every one must be noticed
	$(BIN)/python -m tests.mutations --jobs $(WORKERS)

soak: compiled ## real faults until 200 kills and 1,000,000 facts, then simulation; SOAK_MINUTES at most for each
	$(BIN)/python -m tests.faults --seed $(SOAK_SEED) --minutes $(SOAK_MINUTES)
	WORKERS=$(WORKERS) $(BIN)/python -m tests.simulation $(SOAK_SEED) --minutes $(SOAK_MINUTES) --table

faults: compiled ## real faults on a real three-node cluster, the bounded set
	$(BIN)/pytest -q tests/faults

broker: setup ## tests on the embedded broker and on real Apache Kafka
	$(BIN)/pytest -q -n $(BROKER_WORKERS) tests/broker tests/stream tests/runbooks tests/client tests/facade tests/lane -m "not slow"

test: check compiled ## everything that must pass, the fast part first
	$(MAKE) quick simulation mutations
	$(BIN)/pytest -q --durations 12 -n $(BROKER_WORKERS) tests/broker tests/stream tests/runbooks tests/client tests/facade tests/browser
	$(BIN)/pytest -q --durations 8 -n $(WORKERS) --dist loadfile tests/faults tests/unit tests/lane -m "kafka or slow"

bench: compiled ## our worker beside Kafka Streams and stock Faust on real Kafka, one run, same bytes
	$(BIN)/python -m bench.run

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-annotate \
	  --no-header --universal --python-version 3.11 -q -o requirements.lock
	uv pip compile pyproject.toml --extra image -c requirements.lock --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --universal --python-version 3.11 -q -o docker/requirements.lock

clean:
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build ./*.egg-info
