# `make demo` and `make test` are all that a fresh machine needs: they fetch what they use into ignored folders.
# Needed before: cargo, a C and a C++ compiler, python3 with pip.

SHELL := /bin/bash
CARGO ?= cargo
TOOLS := $(CURDIR)/.tools

# The product finds the fetched nats-server on PATH; the tests are told where it is.
export PATH := $(TOOLS):$(PATH)
unit examples tour chaos: export HARMONYLITE_NATS_SERVER := $(TOOLS)/nats-server

.DEFAULT_GOAL := help
.PHONY: help demo test tools format format-check lint tidy dependencies deny unit simulate hunt examples tour chaos chaos-tools tour-tools fuzz release dist clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-14s %s\n", $$1, $$2 }'

demo: tools ## three nodes with embedded servers keep a sample database equal; ONCE=1: check it and end
	$(CARGO) build --locked --package harmonylite
	$(CARGO) run --quiet --locked --package harmonylite -- demo $(if $(ONCE),--once)

# Everything, the quick checks first. A further check is a further target in this list.
TESTS := format-check tidy dependencies lint unit simulate hunt examples tour chaos

test: tools ## everything that must hold: format, tidy, dependencies, lints, tests
	@set -e; for check in $(TESTS); do echo "== $$check"; $(MAKE) --no-print-directory $$check; done

tools: ## fetch the pinned nats-server into .tools/
	@tools/install-nats-server

format: ## rewrite the sources as rustfmt wants them
	$(CARGO) fmt --all

format-check:
	$(CARGO) fmt --all --check

lint: ## clippy, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

tidy: ## what the compiler cannot hold: layers, owners, names, lengths, links
	$(CARGO) xtask tidy

dependencies: ## licences, banned crates and sources of everything we build on
	$(CARGO) xtask dependencies

deny: ## the same by cargo-deny, where it is installed
	$(CARGO) deny --locked check bans licenses sources

unit: tools ## all tests of the workspace
	$(CARGO) test --locked --workspace

# The same seed first has to give the same history: else nothing that the rest says could be repeated.
SIM := $(CARGO) run --quiet --locked --release --package harmonylite-sim
simulate: ## the simulator: the same seed twice, the seeds that found bugs, SEEDS that nobody ran before, some on files
	$(SIM) -- meta --seeds 30
	$(SIM) -- regressions
	$(SIM) -- run --fresh --seeds $(or $(SEEDS),4000)
	$(SIM) -- run --fresh --seeds 20 --files

hunt: ## planted bugs, one after the other: the simulator finds each
	$(SIM) --features planted-bugs -- hunt

examples: tools ## the applications in examples/, on three nodes each
	$(CARGO) xtask examples

tour: tools tour-tools ## the commands of README.md and docs/deployment.md as they stand, the latter on hosts with networks of their own
	$(CARGO) xtask tour

chaos: tools chaos-tools ## real nodes under kills, cuts, full disks: SCENARIO=name (else all) DURATION=10 RUNS=1 SEED=number
	$(CARGO) xtask chaos $(if $(SCENARIO),--scenario $(SCENARIO),--all) $(if $(SEED),--seed $(SEED)) \
		--duration $(or $(DURATION),10) --runs $(or $(RUNS),1)

chaos-tools:
	@tools/install-faketime

tour-tools:
	@tools/install-iproute2

# Without a sanitizer: what is fuzzed is safe Rust, and the C below it would not be instrumented. cargo-fuzz asks for flags of
# the compiler that a stable one takes only with RUSTC_BOOTSTRAP. What is tried in memory is tried more often.
FUZZ := RUSTC_BOOTSTRAP=1 TMPDIR=$(firstword $(wildcard /dev/shm /tmp)) $(TOOLS)/bin/cargo-fuzz
FUZZ_OPTIONS := --fuzz-dir fuzz --sanitizer none --target-dir target/fuzz
SECONDS ?= 60

fuzz: ## TARGET=name SECONDS=60: libFuzzer on a target of fuzz/; INPUT=file: only that input
	$(if $(TARGET),,$(error TARGET is one of: $(notdir $(wildcard fuzz/corpus/*))))
	@tools/install-cargo-fuzz
	@mkdir -p target/fuzz/corpus/$(TARGET)
	$(FUZZ) run $(FUZZ_OPTIONS) $(TARGET) $(if $(INPUT),$(INPUT),target/fuzz/corpus/$(TARGET) fuzz/corpus/$(TARGET) -- \
		-max_total_time=$(SECONDS) -timeout=20)

release: ## target/release/harmonylite
	$(CARGO) build --locked --release --package harmonylite

dist: ## target/dist/harmonylite: smallest and fastest, slow to build
	$(CARGO) build --locked --profile dist --package harmonylite

clean: ## remove what was built and fetched
	$(CARGO) clean
	rm -rf $(TOOLS)
