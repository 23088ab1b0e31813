# `make help` lists everything. CI runs the same targets as a person.
VENV := .venv
FUZZ_SECONDS ?= 3600
QUICK := $(addprefix tests/,wire protos servables backends producer worker cli docs test_project_files.py test_public_surface.py test_readme.py)
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 3
# Python keeps its bytecode (git ignores it), whatever the caller's environment says: without it each
# run compiles the tests again, which takes longer than half of `make quick`.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo quick test check bench bench-latency bench-predict bench-publish bench-broker bench-kinds bench-heavy bench-large bench-flat bench-gpu bench-peers bench-stages bench-start bench-round-trips bench-handle docs tables chaos lock format

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.complete ## make .venv with everything that the tests and the checks need

$(VENV)/.complete: requirements.lock pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## run the whole service on handwritten digits, through a version swap and a kill
	$(BIN)/topicserve demo

quick: setup ## the tests that need no broker and no Redis server, in under a minute
	$(BIN)/python -m pytest -q -n 2 --hypothesis-profile quick -m "not servers and not kafka and not slow" $(QUICK)

test: setup ## run every test, two side by side: most of them wait
	$(BIN)/python -m pytest tests/conformance -n 2 --dist loadgroup
	$(BIN)/python -m pytest --ignore tests/conformance -n 2 --dist loadgroup

check: setup ## format, lint, types, import rules, the documentation site, and the wheel outside the checkout
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/build_site.py
	$(BIN)/python tests/check_wheel.py

bench: setup ## drain a backlog beside hand-written loops, on Apache Kafka
	$(BIN)/python -m benchmarks.drain

bench-latency: setup ## publish to result at 200 records a second, beside a bare echo
	$(BIN)/python -m benchmarks.latency

bench-predict: setup ## a call that waits for its answer, beside the bare round trip
	$(BIN)/python -m benchmarks.predict

bench-publish: setup ## a million rows of a file, published by a command that is killed twice
	$(BIN)/python -m benchmarks.publish_resume

bench-broker: setup ## the embedded broker beside Apache Kafka: throughput, wake-up, memory, start
	$(BIN)/python -m benchmarks.broker

bench-kinds: setup ## drain a backlog of each kind of record, on Apache Kafka
	$(BIN)/python -m benchmarks.kinds

bench-heavy: setup ## how near a worker comes to its model's own rate where the model is the work
	$(BIN)/python -m benchmarks.heavy

bench-large: setup ## records and results of 1 MiB, beside a bare echo: MB a second, and memory
	$(BIN)/python -m benchmarks.large

bench-flat: setup ## CPU a record by backlog, partitions, servables and replicas
	$(BIN)/python -m benchmarks.flat

bench-gpu: setup ## a model that is the work on the CPU and on a GPU, where there is one
	$(BIN)/python -m benchmarks.gpu

bench-peers: setup ## the same job in other frameworks, also with bad records and a kill
	$(BIN)/python -m benchmarks.peers

bench-stages: setup ## what a record of each kind costs between the Kafka clients and the model
	$(BIN)/python -m benchmarks.stages

bench-round-trips: setup ## what results cost where the broker takes time to answer, with confluent-kafka
	$(BIN)/python -m benchmarks.round_trips

bench-start: setup ## from the start of a worker until it is ready
	$(BIN)/python -m benchmarks.start

bench-handle: setup ## what looking up a servable costs, also while versions swap
	$(BIN)/python -m benchmarks.handle_lookup

docs: setup ## build the documentation site into build/site, strictly: links, anchors, no other hosts
	$(BIN)/python tools/build_site.py

tables: setup ## write what is generated in the documentation: tables of metrics, keys and decisions, diagrams
	$(BIN)/python -m tools.reference_pages
	$(BIN)/python tools/diagrams.py

chaos: setup ## the end-to-end tests at full length: 60 kills, brokers killed in turn, outages, each stage fuzzed for FUZZ_SECONDS; newer Kafka
	# Some tests take longer than the 20 minutes after which one is taken for frozen.
	TOPICSERVE_CHAOS=1 $(BIN)/python -m pytest -o faulthandler_timeout=3600 tests/e2e tests/cli/replay tests/conformance/port/test_leaving.py
	for version in $$($(BIN)/python -m tests.support.kafka.kafka_jars); do \
	  TOPICSERVE_KAFKA_VERSION=$$version $(BIN)/python -m pytest tests/conformance -m kafka || exit 1; done
	$(BIN)/python -m tests.support.stages.fuzz_stages $(FUZZ_SECONDS)

format: setup ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve requirements.lock: versions and hashes, no addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --extra dev pyproject.toml -o requirements.lock
