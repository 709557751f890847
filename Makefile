# Assumes only python3.11+ (with venv), make and git. uv: from PATH, else installed by pip into .tools/.
.DEFAULT_GOAL := help
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := .venv/bin
# Of each sort some, seconds each: data that leaks, credentials, a botnet, load that is benign, an attack inside it.
GATED := hostile/exfiltration hostile/credential-bruteforce hostile/coordinated-botnet \
  benign/firmware-rollout-small benign/flash-crowd-building flood-inside-rollout

.PHONY: help setup demo up test screenshots coverage mutation full-sizes long-test compose-test localstack-test terraform-test check model-gate docs audit licences sbom dist fmt clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: .venv/.synced ## Install everything into .venv (uv.lock, exactly)

.venv/.synced: pyproject.toml uv.lock
	@command -v uv >/dev/null 2>&1 || test -x .tools/bin/uv || \
	  { $(PYTHON) -m venv .tools && .tools/bin/python -m pip install --quiet 'uv>=0.9,<1'; }
	$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

demo: setup ## The story in little more than a minute: baseline, firmware rollout, botnet, verdicts, quarantine
	@$(RUN)/thingstorm demo

up: setup ## The whole stack until Ctrl-C, with its addresses
	@$(RUN)/thingstorm up

test: setup ## Unit, integration, acceptance and packaging tests; .ci/run lists the longer ones
	$(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# the page's tests in Chromium, which draw the pictures of docs/img anew
screenshots: setup
	THINGSTORM_SCREENSHOTS=1 $(RUN)/pytest tests/acceptance/test_page.py

# Which tests `coverage` runs; with all of them those of `long-test` as well.
COVERED ?= tests
export COVERAGE_FILE = $(CURDIR)/build/coverage/data
COVERING := $(RUN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 180

# Coverage of each package by branches, none under 85 % (COVERED=tests/unit: of some tests). A test that fails spoils the exit code, not the table.
coverage: setup
	@mkdir -p build/coverage
	$(RUN)/coverage erase
	failed=0; $(COVERING) $(COVERED) || failed=1; \
	if [ '$(COVERED)' = tests ]; then $(COVERING) -m 'stages or long' tests/acceptance || failed=1; fi; \
	$(RUN)/coverage combine --quiet && $(RUN)/coverage json --quiet -o build/coverage/coverage.json && \
	$(RUN)/python .ci/coverage_table.py build/coverage/coverage.json && exit $$failed

# Small changes to the gateway's core, the IoT SQL evaluator, the view's apply and the verdict: how many do the tests notice?
# MUTANTS: of each area so many, or `all`
MUTANTS ?= 200
mutation: setup
	$(RUN)/python .ci/mutation.py $(MUTANTS)

# The tests that try many inputs, with all of them: 200,000 damaged streams, 1,050 damaged scenarios, properties 5 to 40 times as often
SIZED := test_broker_fuzz test_broker_state test_contracts_durable test_model_stored_baseline test_pipeline_shards \
  test_rules_explaining test_rules_properties test_simulator_mutations
full-sizes: export THINGSTORM_SIZES = full
full-sizes: setup
	$(RUN)/pytest -n 2 --timeout 300 $(SIZED:%=tests/unit/%.py)
	$(RUN)/pytest --timeout 300 tests/integration/test_view_collections.py -k any_history

# Stages as processes of their own: the demo, kills under load, bad input; and what plays long in real time. Apart from `test` for its length alone.
long-test: setup
	$(RUN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'stages or long' tests/acceptance

compose-test: setup ## docker compose for real: build, demo, kills, restart, down (needs an engine)
	tests/compose/with-engine $(RUN)/pytest -m compose -p no:xdist -s tests/compose

localstack-test: setup .tools/localstack/.synced ## The AWS backends' contract on LocalStack (Python 3.12 or later)
	$(RUN)/pytest -m localstack -p no:xdist tests/localstack

# LOCALSTACK_PYTHON: an interpreter or a version; by default pyenv's newest, else what uv finds or fetches
LOCALSTACK_PYTHON ?= $(or $(lastword $(sort $(wildcard $(HOME)/.pyenv/versions/3.1[2-9]*/bin/python))),3.13)

.tools/localstack/.synced: tests/localstack/requirements.txt
	$(UV) venv --quiet --clear --python '$(LOCALSTACK_PYTHON)' .tools/localstack
	$(UV) pip install --quiet --python .tools/localstack/bin/python -r $<
	@touch $@

check: setup ## Lock, lint, format, types, floors, containers, CloudFormation
	$(UV) lock --check --quiet
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/hadolint Dockerfile docker/mosquitto/Dockerfile
	$(RUN)/cfn-lint pipeline/aws/template.yaml
	$(RUN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml examples/workflow.yml
	$(RUN)/check-jsonschema --builtin-schema vendor.github-actions action.yml
	$(RUN)/codespell
	$(RUN)/python .ci/licences.py --check
	$(MAKE) --no-print-directory docs

# The site of docs/ into build/site: every link and anchor is checked, and nobody is asked for anything.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet --strict

SUPPLY := $(UV) run --quiet --isolated --frozen --only-group supply

# Known weaknesses of what is locked (Error 1), by pip-audit's service `pypi` or `osv`; Error 3 where it does not answer
AUDIT_SERVICE ?= pypi

audit: setup
	$(UV) export --quiet --frozen --no-dev --all-extras --no-emit-project | $(SUPPLY) python .ci/audit.py -s $(AUDIT_SERVICE)

# docs/licences.md anew
licences: setup
	$(RUN)/python .ci/licences.py

# What an installation with all extras holds, as CycloneDX 1.6
sbom: setup
	UV_PROJECT_ENVIRONMENT=build/installed $(UV) sync --quiet --frozen --no-dev --all-extras --no-editable
	@mkdir -p dist
	$(SUPPLY) cyclonedx-py environment build/installed/bin/python --pyproject pyproject.toml --mc-type application \
	  --spec-version 1.6 --output-reproducible --output-format JSON --output-file dist/thingstorm.cdx.json

# sdist, and the wheel from it: the same bytes wherever it is built
dist: setup
	$(UV) build --quiet --clear --out-dir dist

# A rule set for AWS, applied as it is; needs terraform, and its AWS provider from the registry or a mirror.
terraform-test: setup
	$(RUN)/pytest -m terraform -p no:xdist tests/acceptance/test_terraform.py

# A part of the library against the recorded verdicts; CI runs it.
model-gate: setup
	$(RUN)/thingstorm evaluate $(GATED:%=scenarios/%.yaml) --seeds 201 --baseline benchmarks/detection-baseline.json

fmt: setup ## Format and mend what ruff can mend
	$(RUN)/ruff check --fix --quiet || true
	$(RUN)/ruff format

clean: ## Remove environments, caches and what runs left behind
	rm -rf .venv .tools .thingstorm dist build mutants .mypy_cache .ruff_cache .hypothesis .import_linter_cache
