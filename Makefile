# `make up` runs everything, `make test` checks everything; both set up what they need in .venv and nowhere else.

ROOT := $(shell cd "$$(dirname "$(strip $(MAKEFILE_LIST))")" && pwd)/
VENV ?= $(ROOT).venv
PY := $(VENV)/bin/python
ARGS ?=
BENCH ?= ingest jobs delivery reading
# More processes than eight gain little, as each has a PostgreSQL of its own.
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); [ $$n -le 8 ] && echo $$n || echo 8)

.DEFAULT_GOAL := help
.PHONY: help up doctor test lint fmt bench lock env clean setup setup-dev

help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' "$(strip $(MAKEFILE_LIST))"

up: setup ## set up, then start everything with a demonstration; ARGS="--port 9000"
	@exec "$(VENV)/bin/mainstay" up $(ARGS)

doctor: setup ## check what runs and what it needs
	@exec "$(VENV)/bin/mainstay" doctor $(ARGS)

test: setup-dev ## set up, then lint and, beside it, the whole suite; ARGS="tests/events -k chain"
	@cd "$(ROOT)" || exit 1; code=0; told=$$(mktemp) || exit 1; \
		scripts/lint "$(VENV)" >"$$told" 2>&1 & lint=$$!; trap 'rm -f "$$told"; kill $$lint 2>/dev/null' EXIT; \
		"$(PY)" -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS) || code=1; \
		wait $$lint || code=1; cat "$$told"; exit $$code

lint: setup-dev ## style, form, types and the order of the rooms
	@"$(ROOT)scripts/lint" "$(VENV)"

fmt: setup-dev ## put the code into its form
	@cd "$(ROOT)" && "$(PY)" -m ruff check --fix . ; "$(PY)" -m ruff format .

bench: setup-dev ## side-by-side measurements; BENCH="jobs" ARGS="--write docs"
	@cd "$(ROOT)" && for one in $(BENCH); do "$(PY)" -m "benchmarks.$$one" $(ARGS) || exit 1; done

lock: ## settle the versions of all requirements again (needs uv)
	@"$(ROOT)scripts/lock"

env: setup ## write .env.example from the settings
	@cd "$(ROOT)" && "$(PY)" -c 'from mainstay.kernel import settings; print(settings.example(), end="")' >.env.example

clean: ## remove what was built and cached; data of `make up` stays
	@cd "$(ROOT)" && rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find "$(ROOT)src" "$(ROOT)tests" -name __pycache__ -type d -prune -exec rm -rf {} +

setup:
	@"$(ROOT)scripts/setup" "$(VENV)" requirements.lock

setup-dev:
	@"$(ROOT)scripts/setup" "$(VENV)" requirements-dev.lock
