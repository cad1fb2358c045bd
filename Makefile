# Every command a person or CI runs. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run test browser-test upgrade-test reliability mutants lint typecheck format bench sandbox-coverage ci lock build up down migrate logs clean

# What is imported is kept compiled: the tests start a lot of processes.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGES := client/pyproject.toml sandbox/pyproject.toml server/pyproject.toml
DOMAIN := server/src/tollhouse_server/domain/*
# Further arguments for the command behind a target, as in `make run ARGS=--with-valkey`.
ARGS :=

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(INSTALLED): requirements.lock bootstrap.lock pyproject.toml $(PACKAGES) .ci/set-up
	@.ci/set-up

setup: $(INSTALLED)  ## install everything into .venv (the others do it when needed)

run: $(INSTALLED)  ## start everything on this machine: stores, Stripe sandbox, service, demo; Ctrl-C stops it
	@exec $(BIN)/tollhouse dev $(ARGS)

test: $(INSTALLED)  ## run the tests, without browser and upgrade; the domain must be covered wholly, the rest by 90 %
	rm -f .coverage .coverage.*
	$(BIN)/pytest -n 2 --dist worksteal -m "not browser and not upgrade" --cov --cov-report= $(ARGS)
	$(BIN)/coverage report --skip-covered --include='$(DOMAIN)' --fail-under=100
	$(BIN)/coverage report --skip-covered --omit='$(DOMAIN)' --fail-under=90

browser-test: $(INSTALLED)  ## run the tests that open pages in Chromium
	$(BIN)/pytest -m browser $(ARGS)

upgrade-test: $(INSTALLED)  ## run the version before and this one side by side over one schema
	$(BIN)/pytest -m upgrade $(ARGS)

reliability: $(INSTALLED)  ## try to break the promises: kills, permutations, lost answers; LONG=1 for a night
	$(BIN)/python -m reliability $(if $(LONG),--long) $(ARGS)

mutants: $(INSTALLED)  ## break the code in known ways: each time a test or run must notice
	$(BIN)/python -m reliability.mutants $(ARGS)

lint: $(INSTALLED)  ## check style, formatting and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

typecheck: $(INSTALLED)  ## check types, strictly
	$(BIN)/mypy

format: $(INSTALLED)  ## format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED)  ## measure speed, as ratios; ARGS=--quick for a first look, LARGE=1 for a million customers
	$(BIN)/python -m benchmarks $(if $(LARGE),--large) $(ARGS)

sandbox-coverage: $(INSTALLED)  ## have Stripe's own command line try the sandbox, and write what it does not cover
	$(BIN)/python docs/write_sandbox_coverage.py $(ARGS)

ci:  ## what CI runs: tests, checks, browser tests, and a purchase on a fresh clone
	.ci/run

# The lock names no index: each installation uses its own. Our own packages are installed in place.
COMPILE = .tools/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-header --no-emit-index-url --no-emit-find-links
lock: $(INSTALLED)  ## pin the newest versions that pyproject.toml allows in requirements.lock
	printf '%s\n' 'tollhouse @ ./client' 'tollhouse-sandbox @ ./sandbox' 'uv-build>=0.13,<0.14' | \
	$(COMPILE) --upgrade --extra dev --group dev --no-emit-package tollhouse --no-emit-package tollhouse-sandbox \
		$(PACKAGES) - -o requirements.lock

build up down logs: docker-is-there
build:  ## build the container image
	docker compose build
up:  ## start PostgreSQL, Valkey, the service and its worker in containers
	docker compose up --detach --wait
down:  ## stop the containers; the data stay
	docker compose down
logs:  ## follow the containers' logs
	docker compose logs --follow

migrate: $(INSTALLED)  ## migrate the database: the containers' if Docker is there, else the one at DATABASE_URL
	@if docker compose version >/dev/null 2>&1; then docker compose run --rm migrate; \
	else exec $(BIN)/tollhouse migrate; fi

.PHONY: docker-is-there
docker-is-there:
	@docker compose version >/dev/null 2>&1 || { echo "This needs Docker with the compose plugin, which is not \
	here. Without containers: make run." >&2; exit 1; }

clean:  ## remove what was installed and cached; the data of `make run` stay in .tollhouse
	rm -rf .venv .tools .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find client sandbox server scenarios reliability benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
