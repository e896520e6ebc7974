# `make help` lists what there is.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# Not PYTHON: `make quick PYTHON=python3.13` says of which interpreter .ci/venv makes the environment.
VENV_PYTHON := $(CURDIR)/$(BIN)/python
JOBS ?= 2
# Of each agent under load, in `make hazards`: 2000 is the long version.
REQUESTS ?= 200

# Byte code is kept, whatever the environment says: the tests start Python some thousand times.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode

# The tests without sockets and clocks: those that cover all of wire and core, and those that try many conversations.
COVERING := tests/wire tests/core
TRYING := $(addprefix tests/,properties captures fuzz)
# A fleet of guards, HAProxys and agents with a clock that decides within how many seconds the page says what is wrong.
ALONE := tests/integration/oncall
# The tests of what is not the guard itself, and of alerts, which break a guard from within.
APART := $(addprefix tests/,alerts bench cost deploy haproxy_config placement integration/test_generations.py integration/waf/test_alone.py test_architecture.py test_contributing.py test_docs.py test_hypothesis.py test_names.py test_papers.py test_setup.py test_skipped.py test_systemd.py)

.PHONY: help venv peers haproxies agents rivals helm builds test compiled checked asan wheel deb test-image test-deb test-stranger hazards continuity silence fuzz fuzz-cost cost cost-measured fleet-measured soak bench bench-scale briefly check static
.PHONY: coverage measure reloads stops demo docs urls site lock fmt image sbom clean quick

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

helm: venv ## Helm, actionlint, and what the Prometheus operator adds to Kubernetes, to check manifests and workflows with, in .cache/helm
	@$(BIN)/python -m tests.deploy.tools

builds: venv ## the package in every way it is compiled, in .cache/builds: see .ci/builds
	@.ci/builds

# $(call played,ARGUMENTS,ARGUMENTS for COVERING): what is without sockets and clocks takes all the CPU it gets, so it runs nice,
# beside the others. Of these ALONE comes first; then those with real peers and real time, which wait for some of theirs, so one
# more at a time than there are CPUs: with two more a real firewall was starved until it answered too late. With ARGS, as
# `-k some_test`, there may be none of one kind (5). By file, so that what a file's tests share (an HAProxy) is made once.
played = play() { "$$@" || { code=$$?; [ $$code = $(if $(ARGS),5,0) ] || failed=$$code; }; }; failed=0; \
	( play nice $(VENV_PYTHON) -m pytest -rfE $(1) $(2) $(COVERING) $(ARGS); play nice $(VENV_PYTHON) -m pytest -rfE $(1) $(TRYING) $(ARGS); \
	exit $$failed ) > .cache/thought.log 2>&1 & thought=$$!; \
	play $(VENV_PYTHON) -m pytest -rfE $(1) $(ALONE) $(ARGS); \
	play $(VENV_PYTHON) -m pytest -rfE -n $$(($(JOBS) + 1)) --dist loadfile $(1) $(addprefix --ignore=,$(COVERING) $(TRYING) $(ALONE)) $(ARGS); \
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
	nice $(VENV_PYTHON) -m pytest -q -n $(JOBS) --dist loadfile tests/test_build.py $(COVERING) $(TRYING) tests/capture tests/net tests/integration/test_real_haproxy.py $(ARGS)

asan: venv ## the hot lane under AddressSanitizer: a peer's bytes are walked over in C
	@.ci/builds asan && .ci/tree asan
	@# What it finds it says to the terminal, and then the process ends: pytest must not keep that for later.
	@cd .cache/builds/tree-asan && EXPECTED_BUILD=asan PYTHONPATH=. \
	nice $(CURDIR)/.ci/sanitized $(VENV_PYTHON) -m pytest -q --capture=sys --timeout 600 tests/test_build.py tests/fuzz tests/wire tests/core tests/capture/test_tape.py $(ARGS)

test-image: venv peers ## build the container image and run it: a compiler, and so minutes
	$(BIN)/python -m pytest -m image tests/integration/test_image.py $(ARGS)

wheel: venv ## the source distribution and the compiled wheel of this machine's Python, in dist
	@.ci/peers cc && .ci/wheel

deb: wheel ## a Debian package for bookworm and one for trixie, in dist (as root; RELEASES= one of them)
	@.ci/peers debootstrap && .ci/deb/build $(RELEASES)

test-deb: venv ## build the wheel and the Debian packages, and install them in bare roots: compilers, and so minutes
	@.ci/peers cc debootstrap systemd-nspawn || [ "$${CI:-}" != true ]
	$(BIN)/python -m pytest -m package tests/packages $(ARGS)

test-stranger: venv haproxies agents ## the commands of docs/agents on a bare Debian, with the package and with the wheel: minutes
	@.ci/peers cc debootstrap systemd-nspawn || [ "$${CI:-}" != true ]
	$(BIN)/python -m pytest -m stranger tests/products/test_stranger.py $(ARGS)

hazards: venv peers haproxies agents ## every hazard at every HAProxy and agent, without the guard and with it; writes docs/hazards.md
	@rm -rf .cache/hazards # most of its time it waits for HAProxy's timeouts, so two at a time for each job
	SPOE_GUARD_HAZARDS=.cache/hazards SPOE_GUARD_HAZARD_REQUESTS=$(REQUESTS) $(BIN)/python -m pytest -q -n $$((2 * $(JOBS))) tests/integration/hazards $(addprefix tests/integration/test_,oversize.py refused_connections.py busy_haproxy.py) $(ARGS)
	@$(BIN)/python -m tests.integration.hazards.page .cache/hazards

continuity: PART ?= 1
continuity: venv peers haproxies agents ## agents, guards and HAProxys that come and go under load; writes that chapter of docs/hazards.md
	@rm -rf .cache/continuity # one after the other: what clients wait is measured. PART=4: a quarter as long
	SPOE_GUARD_CONTINUITY=.cache/continuity SPOE_GUARD_CONTINUITY_PART=$(PART) $(BIN)/python -m pytest -q -m "" tests/integration/continuity $(ARGS) || failed=$$?; \
	$(BIN)/python -m tests.integration.continuity.page .cache/continuity && exit $${failed:-0}

silence: venv peers haproxies ## agents that hang, are slow, gone or lose one answer; writes that chapter of docs/hazards.md
	@rm -rf .cache/silence # one after the other: what clients wait is measured
	SPOE_GUARD_SILENCE=.cache/silence $(BIN)/python -m pytest -q tests/integration/silence tests/integration/waf $(ARGS) || failed=$$?; \
	$(BIN)/python -m tests.integration.silence.page .cache/silence && exit $${failed:-0}

measure: venv peers haproxies agents rivals ## the tests in which a clock decides, one after the other, on a machine that does nothing else
	$(BIN)/python -m pytest -m measure $(ARGS)

reloads: TIME ?= 60
reloads: venv peers haproxies ## a guard that is sent SIGHUP every second under load, for TIME seconds
	@SPOE_GUARD_RELOAD_SECONDS=$(TIME) $(BIN)/python -m pytest -q -m "" tests/integration/test_reload.py $(ARGS)

stops: EACH ?= 20000
stops: venv peers haproxies ## HAProxy 3.2 that stands still for moments under load, EACH requests for each of 84 cases: about an hour
	@SPOE_GUARD_STOP_REQUESTS=$(EACH) $(BIN)/python -m pytest -q -m "" tests/integration/test_busy_haproxy.py $(ARGS)

fuzz: TIME ?= 3600
fuzz: venv ## look for a conversation that breaks a promise, for TIME seconds; python -m tests.fuzz FILE plays what it found
	@$(BIN)/python -m tests.fuzz --seconds $(TIME) --jobs $(JOBS) $(ARGS)

fuzz-cost: TIME ?= 3600
fuzz-cost: venv ## look for a conversation that costs more than its bytes are worth, for TIME seconds
	@$(BIN)/python -m tests.fuzz --cost --seconds $(TIME) --jobs $(JOBS) $(ARGS)

cost: venv ## what each kind of frame, repair and search costs at four sizes, in work that is counted
	@$(BIN)/python -m tests.cost $(ARGS)

cost-measured: venv ## the same in time, compiled, on a machine that does nothing else; joins docs/benchmarks.*
	@.ci/builds compiled && .ci/tree compiled
	@cd .cache/builds/tree-compiled && PYTHONPATH=. $(VENV_PYTHON) -m tests.cost.measure $(CURDIR)/docs

fleet-measured: venv ## what it takes to look at 1,000 routes with 10,000 sessions, pure and compiled, on a machine that does nothing else; joins docs/benchmarks.*
	@$(VENV_PYTHON) -m tests.fleet.fleet
	@.ci/builds compiled && .ci/tree compiled
	@cd .cache/builds/tree-compiled && PYTHONPATH=. $(VENV_PYTHON) -m tests.fleet.fleet $(CURDIR)/docs

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

briefly: venv peers haproxies ## three minutes of fuzz, a third of them for cost, with one of soak beside it and then the cost table
	@# one seed: a check that judges a change plays the same each time; make fuzz looks for what is new
	@( $(BIN)/python -m tests.fuzz --seconds 120 --seed 1 && $(BIN)/python -m tests.fuzz --cost --seconds 60 --seed 1 ) & fuzz=$$!; \
	failed=0; $(BIN)/python -m tests.soak --seconds 60 || failed=$$?; $(BIN)/python -m tests.cost || failed=$$?; \
	wait $$fuzz && exit $$failed

check: static test compiled checked asan test-image test-deb test-stranger briefly coverage site ## everything that must hold before a change goes in

static: venv ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: static ## the loop while you write: style, types, imports, then wire, core and properties
	@SPOE_GUARD_HYPOTHESIS=quick nice $(VENV_PYTHON) -m pytest -q -n $(JOBS) $(COVERING) tests/properties $(ARGS)

coverage: venv ## judge what the last `make test` covered: all branches of wire and core
	$(BIN)/coverage report

demo: venv ## the whole story in one terminal: a buggy agent and HAProxy, without the guard and with it
	@.ci/peers haproxy || true
	@$(BIN)/spoe-guard demo

docs: venv ## write the pages of docs/ that are a view of a table in the code
	$(BIN)/python -m tests.docs

urls: venv ## put the repository's address of pyproject.toml into every file that repeats it
	$(BIN)/python -m tests.urls

site: venv ## docs/ as a site, in .cache/site; a dead link fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build # quiet, it would count no warnings

lock: venv ## .ci/locks anew: the versions and hashes of all packages that image and installation get (UPGRADE=1: the newest)
	@UPGRADE=$(UPGRADE) .ci/lock

fmt: venv ## bring the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

image: ## the container image, spoe-guard:latest, and its SBOM (BASE=... another base image, best by digest)
	@.ci/peers buildah
	buildah bud --format docker --build-arg REVISION=$$(git describe --always --dirty --exclude '*' --abbrev=40 2> /dev/null || echo unknown) \
	$(if $(BASE),--build-arg BASE=$(BASE)) --tag spoe-guard:latest .
	@$(MAKE) --no-print-directory sbom

sbom: BUILDAH ?= buildah
sbom: IMAGE ?= spoe-guard:latest
sbom: INTO ?= dist
sbom: ## which Python packages the image holds, as CycloneDX, out of spoe-guard:latest into dist
	@mkdir -p $(INTO)
	@made=$$(printf 'FROM scratch\nCOPY --from=%s /opt/spoe-guard/spoe-guard.cdx.json /\n' $(IMAGE) \
	| $(BUILDAH) bud --quiet --output type=local,dest=$(INTO) --file - .) && $(BUILDAH) rmi "$$made" > /dev/null
	@echo "$(INTO)/spoe-guard.cdx.json"

clean: ## remove everything make made, downloads too
	rm -rf .venv .cache .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
