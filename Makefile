# The whole vocabulary of this checkout. Every target first makes sure that what it needs is installed
# (scripts/setup.sh: Debian and Ubuntu, silent when nothing is missing).

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# nginx and php-fpm live where an ordinary user's PATH does not look.
export PATH := $(PATH):/usr/sbin:/sbin
export CORNAC_BIN ?= $(TARGET_DIR)/release/cornac
# End-to-end tests mostly wait.
export RUST_TEST_THREADS ?= $(shell echo $$(($$(nproc) * 2)))

.PHONY: help run test bench bench-lifecycle lint
.DEFAULT_GOAL := help

help:
	@echo 'make run     build, then serve the example site with cornac and nginx on http://127.0.0.1:8080 (PORT=… changes it)'
	@echo 'make test    build, then all tests: units, and end to end against nginx, php-fpm and a real application'
	@echo 'make bench   the comparison with php-fpm and its peers, measured in one run'
	@echo 'make bench-lifecycle   reload, stop and start, kept connections, spikes: what requests notice, beside php-fpm (QUICK=1: a minute instead of ten)'
	@echo 'make lint    formatting, clippy with warnings denied, licences and advisories (where cargo-deny is installed)'

run:
	@scripts/setup.sh run
	cargo build --release
	@scripts/run.sh

test:
	@scripts/setup.sh test
	cargo build --release
	cargo test --workspace

bench:
	@scripts/setup.sh bench
	cargo build --release
	cargo run --release -p cornac-benches

bench-lifecycle:
	@scripts/setup.sh bench
	cargo build --release
	cargo run --release -p cornac-benches -- lifecycle $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

lint:
	@scripts/setup.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check; \
	else echo 'cargo-deny is not installed: licences and advisories not checked'; fi
