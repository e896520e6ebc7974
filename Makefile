# `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTHON := $(CURDIR)/$(BIN)/python
JOBS ?= 2
# Of each agent under load, in `make hazards`: 2000 is the long version.
REQUESTS ?= 200

# The tests without sockets and clocks: those that cover all of wire and core, and those that try many conversations.
COVERING := tests/wire tests/core
TRYING := $(addprefix tests/,properties captures fuzz)
# The tests of what is not the guard itself, and of alerts, which break a guard from within.
APART := $(addprefix tests/,alerts bench deploy integration/test_generations.py integration/waf/test_alone.py test_architecture.py test_contributing.py test_docs.py test_hypothesis.py test_names.py test_papers.py test_setup.py test_skipped.py test_systemd.py)

.PHONY: help venv peers haproxies agents rivals helm builds test compiled checked asan test-image hazards continuity silence fuzz soak bench bench-scale briefly check static
.PHONY: coverage measure reloads demo docs site fmt image clean quick

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

venv: .venv/.made ## a virtual environment in .venv with the package and the development tools
.venv/.made: pyproject.toml .ci/venv
	@.ci/venv

peers: ## the real programs the tests play against (as root on Debian; elsewhere it says what is missing)
	@.ci/peers

haproxies: venv ## HAProxy of four generations, as Debian packages them, in .cache/haproxies
	@$(BIN)/python -m tests.integration.generations

agents: venv ## the agents people run, each behind the same command line, in .cache/agents
	@$(BIN)/python -m tests.agents.build

helm: venv ## Helm, and what the Prometheus operator adds to Kubernetes, to check the manifests with, in .cache/helm
	@$(BIN)/python -m tests.deploy.tools

builds: venv ## the package in every way it is compiled, in .cache/builds: see .ci/builds
	@.ci/builds

# $(call played,ARGUMENTS,ARGUMENTS for COVERING): what is without sockets and clocks takes all the CPU it gets, so it runs nice,
# beside those with real peers and real time. With ARGS, as `-k some_test`, there may be none of one kind (5). By file, so that
# what a file's tests share (an HAProxy) is made once.
played = play() { "$$@" || { code=$$?; [ $$code = $(if $(ARGS),5,0) ] || failed=$$code; }; }; failed=0; \
	( play nice $(PYTHON) -m pytest -rfE $(1) $(2) $(COVERING) $(ARGS); play nice $(PYTHON) -m pytest -rfE $(1) $(TRYING) $(ARGS); \
	exit $$failed ) > .cache/thought.log 2>&1 & thought=$$!; \
	play $(PYTHON) -m pytest -rfE -n $(JOBS) --dist loadfile $(1) $(addprefix --ignore=,$(COVERING) $(TRYING)) $(ARGS); \
	wait $$thought || failed=$$?; cat .cache/thought.log; exit $$failed

test: venv peers ## all tests but those of the container image
	@$(MAKE) --no-print-directory --keep-going haproxies agents $(if $(CI),rivals helm builds) || [ "$${CI:-}" != true ] # without them a test is skipped
	@mkdir -p .cache
	@export EXPECTED_BUILD=pure; $(call played,,--cov --cov-report= --cov-fail-under=0)

compiled: venv peers haproxies agents ## the same tests on the compiled build, but for those in which the guard does not run
	@.ci/builds compiled && .ci/tree compiled
	@cd .cache/builds/tree-compiled && export EXPECTED_BUILD=compiled PYTHONPATH=.; \
	$(call played,$(addprefix --ignore=,$(APART)))

checked: venv peers haproxies ## what plays the hot lane, with every index in it checked
	@.ci/builds checked && .ci/tree checked
	@cd .cache/builds/tree-checked && EXPECTED_BUILD=checked PYTHONPATH=. \
	nice $(PYTHON) -m pytest -q -n $(JOBS) --dist loadfile tests/test_build.py $(COVERING) $(TRYING) tests/capture tests/net tests/integration/test_real_haproxy.py $(ARGS)

asan: venv ## the hot lane under AddressSanitizer: a peer's bytes are walked over in C
	@.ci/builds asan && .ci/tree asan
	@# What it finds it says to the terminal, and then the process ends: pytest must not keep that for later.
	@cd .cache/builds/tree-asan && EXPECTED_BUILD=asan PYTHONPATH=. \
	nice $(CURDIR)/.ci/sanitized $(PYTHON) -m pytest -q --capture=sys --timeout 300 tests/test_build.py tests/fuzz tests/wire tests/core tests/capture/test_tape.py $(ARGS)

test-image: venv peers ## build the container image and run it: a compiler, and so minutes
	$(BIN)/python -m pytest -m image tests/integration/test_image.py $(ARGS)

hazards: venv peers haproxies agents ## every hazard at every HAProxy and agent, without the guard and with it; writes docs/hazards.md
	@rm -rf .cache/hazards # most of its time it waits for HAProxy's timeouts, so two at a time for each job
	SPOE_GUARD_HAZARDS=.cache/hazards SPOE_GUARD_HAZARD_REQUESTS=$(REQUESTS) $(BIN)/python -m pytest -q -n $$((2 * $(JOBS))) tests/integration/hazards $(ARGS)
	@$(BIN)/python -m tests.integration.hazards.page .cache/hazards

continuity: PART ?= 1
continuity: venv peers haproxies agents ## agents, guards and HAProxys that come and go under load; writes that chapter of docs/hazards.md
	@rm -rf .cache/continuity # one after the other: what clients wait is measured. PART=4: a quarter as long
	SPOE_GUARD_CONTINUITY=.cache/continuity SPOE_GUARD_CONTINUITY_PART=$(PART) $(BIN)/python -m pytest -q -m "" tests/integration/continuity $(ARGS) || failed=$$?; \
	$(BIN)/python -m tests.integration.continuity.page .cache/continuity && exit $${failed:-0}

silence: venv peers haproxies ## agents that hang, are slow, gone or lose one answer; writes that chapter of docs/hazards.md
	@rm -rf .cache/silence # one after the other: what clients wait is measured
	SPOE_GUARD_SILENCE=.cache/silence $(BIN)/python -m pytest -q tests/integration/silence $(ARGS) || failed=$$?; \
	$(BIN)/python -m tests.integration.silence.page .cache/silence && exit $${failed:-0}

measure: venv peers haproxies agents rivals ## the tests in which a clock decides, one after the other, on a machine that does nothing else
	$(BIN)/python -m pytest -m measure $(ARGS)

reloads: TIME ?= 60
reloads: venv peers haproxies ## a guard that is sent SIGHUP every second under load, for TIME seconds
	@SPOE_GUARD_RELOAD_SECONDS=$(TIME) $(BIN)/python -m pytest -q -m "" tests/integration/test_reload.py $(ARGS)

fuzz: TIME ?= 3600
fuzz: venv ## look for a conversation that breaks a promise, for TIME seconds; python -m tests.fuzz FILE plays what it found
	@$(BIN)/python -m tests.fuzz --seconds $(TIME) --jobs $(JOBS) $(ARGS)

soak: TIME ?= 600
soak: venv peers haproxies ## an agent that makes every mistake, at real HAProxy under load, for TIME seconds
	@$(BIN)/python -m tests.soak --seconds $(TIME) $(ARGS)

rivals: venv ## what the bench measures with and against, in .cache/bench and .cache/nginx: load generator, agent, nginx
	@$(BIN)/python -m tests.bench.builds

bench: ROUNDS ?= 4
bench: venv peers haproxies rivals builds ## what the guard costs beside other proxies; writes docs/benchmarks.*. SHAPES=, CANDIDATES=, PARTS=: a part of it
	@$(BIN)/python -m tests.bench --rounds $(ROUNDS) --shapes "$(SHAPES)" --candidates "$(CANDIDATES)" --parts "$(PARTS)" $(ARGS)

bench-scale: venv rivals builds ## many sessions, many open NOTIFYs, 20 million round trips; joins docs/benchmarks.json
	@$(BIN)/python -m tests.bench.scale $(ARGS)

briefly: venv peers haproxies ## three minutes of fuzz, with one of soak beside it
	@# one seed: a check that judges a change plays the same each time; make fuzz looks for what is new
	@$(BIN)/python -m tests.fuzz --seconds 180 --seed 1 & fuzz=$$!; soak=0; $(BIN)/python -m tests.soak --seconds 60 || soak=$$?; \
	wait $$fuzz && exit $$soak

check: static test compiled checked asan test-image briefly coverage site ## everything that must hold before a change goes in

static: venv ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: static ## the loop while you write: style, types, imports, then wire, core and properties
	@SPOE_GUARD_HYPOTHESIS=quick nice $(PYTHON) -m pytest -q -n $(JOBS) $(COVERING) tests/properties $(ARGS)

coverage: venv ## judge what the last `make test` covered: all branches of wire and core
	$(BIN)/coverage report

demo: venv ## the whole story in one terminal: a buggy agent and HAProxy, without the guard and with it
	@.ci/peers haproxy || true
	@$(BIN)/spoe-guard demo

docs: venv ## write the pages of docs/ that are a view of a table in the code
	$(BIN)/python -m tests.docs

site: venv ## docs/ as a site, in .cache/site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build # quiet, it would count no warnings

fmt: venv ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: ## the container image, spoe-guard:latest (BASE=... another base image)
	@.ci/peers buildah
	buildah bud --format docker $(if $(BASE),--build-arg BASE=$(BASE)) --tag spoe-guard:latest .

clean: ## remove everything make made, downloads too
	rm -rf .venv .cache .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
