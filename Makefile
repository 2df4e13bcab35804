# Everything here works on a fresh Debian 12 with Rust (https://rustup.rs); `make` alone lists what there is.

# Where rustup puts cargo; a shell started before Rust was installed does not know it.
export PATH := $(PATH):$(HOME)/.cargo/bin

# `make run PROFILE=release` runs what would be shipped.
PROFILE ?= dev
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROGRAMS := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

.PHONY: help setup bench-setup build run test fuzz-api check fmt bench growth backlog soak chaos rolling kills sim deb deb-test

help: ## this list
	@sed -nE 's/^([a-z-]+):.* ## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install Redis, PostgreSQL, HAProxy, a C compiler and (for tests) Node.js and Chromium, where missing
	@.ci/setup test

bench-setup: ## install the servers that Hubbub is compared with, see benches/peers/README.md
	@.ci/setup bench

build:
	@.ci/setup
	cargo build --workspace --bins --profile $(PROFILE)

run: build ## start a whole private Hubbub on http://127.0.0.1:8080 (HUBBUB_DEV_PORT); Ctrl-C stops it
	@setpriv --pdeathsig TERM -- $(PROGRAMS)/hubbub-dev

test: setup ## run every test, against real servers
	@.ci/test

bench: setup bench-setup ## measure Hubbub beside its peers, half an hour: benches/RESULTS.md (BENCH="--only idle --runs 1" for a part)
	cargo build --release --workspace --bins
	cargo build --release -p hubbub-benches --examples
	@setpriv --pdeathsig TERM -- $(TARGET)/release/hubbub-load bench $(BENCH)

growth: setup ## what history and unread counts cost with a million and with a hundred million messages stored (25 minutes)
	@$(MAKE) bench BENCH="--only growth-history --runs 1"

backlog: setup ## stop the batch writer for a minute at 20,000 messages/s: how soon is the backlog gone? (BACKLOG="--stop 10")
	cargo build --release --workspace --bins
	@setpriv --pdeathsig TERM -- $(TARGET)/release/hubbub-load backlog $(BACKLOG)

soak: setup ## messages for an hour while clients come and go (SOAK="--seconds 600 --resume-window 30": with Redis, whose memory must not grow)
	cargo build --release --workspace --bins
	@setpriv --pdeathsig TERM -- $(TARGET)/release/hubbub-load soak $(SOAK)

chaos: setup ## kill and freeze parts at random under load for ten minutes: do the books balance? (CHAOS="--redis sentinel --seconds 60 --seed 1")
	cargo build --release --workspace --bins
	@setpriv --pdeathsig TERM -- $(TARGET)/release/hubbub-load chaos $(CHAOS)

rolling: setup ## restart both gateways behind HAProxy with 10,000 clients: how long are they away, is anything missing? (ROLLING="--connections 2000")
	cargo build --release -p hubbub-gateway -p hubbub-benches --bins
	@setpriv --pdeathsig TERM -- $(TARGET)/release/hubbub-load rolling $(ROLLING)

kills: setup ## kill, freeze and cut off the batch writer at random hundreds of times: is everything stored once? (KILLS=300 SEED=1)
	cargo build --workspace --bins
	HUBBUB_TEST_KILLS=$(or $(KILLS),300) HUBBUB_TEST_SEED=$(SEED) cargo test -p hubbub-benches --test system exactly_once:: -- --nocapture

sim: ## simulate many clusters, each with faults of its own, and check every promise; a failure tells its seed (SEEDS=1..10001)
	HUBBUB_SIM_SEEDS=$(or $(SEEDS),1..1001) cargo test -p hubbub-gateway --lib sim::the_promises_hold_in_many_worlds -- --ignored --nocapture

fuzz-api: setup ## ask a private Hubbub what its API document allows, and what not (EXAMPLES=200 SEED=1)
	cargo build --workspace --bins
	@.ci/fuzz-api

check: setup ## formatting, lints, types and documentation, as CI wants them
	cargo fmt --all --check
	control/web/test/node_modules/.bin/tsc -p control/web
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet

deb: ## make the Debian package: target/debian/hubbub_*.deb
	@.ci/setup deb
	cargo build --release --bins -p hubbub-gateway -p hubbub-control
	@.ci/deb $(TARGET)/release

deb-test: setup ## install, upgrade and remove the package on a host with systemd made for it (as root, PROFILE=release)
	@.ci/setup deb-test
	cargo build --workspace --all-targets --profile $(PROFILE)
	@PROFILE=$(PROFILE) .ci/deb-test

fmt: ## format the code
	cargo fmt --all
