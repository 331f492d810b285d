# Amphi's commands. Each installs what it needs first, says so, and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# To build and run: GStreamer and libyuv (the pipeline child), and FFmpeg's libraries (the finishing child).
RUN_PACKAGES := build-essential pkg-config clang libclang-dev \
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstreamer-plugins-bad1.0-dev \
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
  gstreamer1.0-plugins-ugly gstreamer1.0-libav gstreamer1.0-x \
  libavcodec-dev libavformat-dev libavutil-dev libswscale-dev libyuv-dev fonts-dejavu-core
# To test: a real browser, another stack's WHIP client (libnice for it), ffprobe, and Python for what
# asks the API all that its description allows, and more; the other database; the cache of config/edge.
TEST_PACKAGES := chromium ffmpeg gstreamer1.0-nice gstreamer1.0-tools python3-venv postgresql nginx-light
# To compare with: wrk (and the tests' nginx) for the origin, Janus for forwarding.
BENCH_PACKAGES := wrk janus

# Installs those of $(1) that are missing; silent when none is.
install = missing=$$(for p in $(1); do dpkg-query -Wf '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
  if [ -n "$$missing" ]; then echo "==> installing" $$missing; \
  sudo=$$([ $$(id -u) = 0 ] || echo sudo); $$sudo apt-get update -q; \
  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -yq --no-install-recommends $$missing; fi

FUZZ_SECONDS ?= 60
STAMPS := target/stamps
LOGS := target/test-logs
PAGES := $(shell find player -path player/node_modules -prune -o -path player/dist -prune -o -type f -print 2>/dev/null)

.PHONY: help run test bench fuzz player clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

run: $(STAMPS)/run-packages player/dist/.built ## install what is missing, build, and serve at http://localhost:8080
	@echo '==> building Amphi (some minutes the first time)'
	@cargo run --quiet -- serve --dev

test: $(STAMPS)/run-packages $(STAMPS)/test-packages $(STAMPS)/python player/dist/.built tests/browser/node_modules/.installed ## all tests
	@mkdir -p $(LOGS); rm -f $(LOGS)/*
	@echo '==> formatting and lints'
	@cargo fmt --check
	@cargo clippy --quiet --all-targets -- -D warnings
	@echo '==> pages: types and unit tests'
	@cd player && npm run --silent check && npm test --silent 2>&1 | tee ../$(LOGS)/pages.log
	@echo '==> server: unit and integration tests'
	@cargo test --no-fail-fast 2>&1 | tee $(LOGS)/cargo.log
	@echo '==> a real browser publishes and watches'
	@AMPHI_BIN=$(CURDIR)/target/debug/amphi node --test --test-concurrency=1 --test-reporter=spec tests/browser/*.test.mjs 2>&1 | tee $(LOGS)/browser.log
	@echo '==> all that ran'
	@grep -hE '^     Running|^test result:' $(LOGS)/cargo.log
	@grep -hE 'Test Files|  Tests' $(LOGS)/pages.log
	@grep -hE '^ℹ (tests|pass|fail|skipped|.*glass to glass)' $(LOGS)/browser.log

bench: $(STAMPS)/run-packages $(STAMPS)/test-packages $(STAMPS)/bench-packages player/dist/.built tests/browser/node_modules/.installed ## the budgets, measured
	@cargo bench
	@cargo build --release --quiet
	@echo '==> glass to glass, in a real browser'
	@AMPHI_BIN=$(CURDIR)/target/release/amphi node --test --test-concurrency=1 --test-reporter=spec tests/browser/live.test.mjs
	@AMPHI_BIN=$(CURDIR)/target/release/amphi AMPHI_PROGRAM_SECONDS=60 node --test --test-reporter=spec tests/browser/program.test.mjs
	@echo '==> from speaker to speaker, beside a direct connection; and on bad networks'
	@AMPHI_BIN=$(CURDIR)/target/release/amphi node tests/browser/delay.bench.mjs
	@AMPHI_BIN=$(CURDIR)/target/release/amphi node tests/browser/shaped.bench.mjs
	@AMPHI_BIN=$(CURDIR)/target/release/amphi node tests/browser/skew.bench.mjs

fuzz: ## a minute on each fuzz target (with a nightly toolchain, which it installs)
	@rustup toolchain list | grep -q nightly || rustup toolchain install nightly --profile minimal
	@command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
	@for target in $$(cargo +nightly fuzz list --fuzz-dir tests/fuzz); do echo "==> $$target"; \
	  seeds=tests/corpus/$$target; if [ $$target = sdp_offer ]; then seeds=tests/vectors/offers; fi; \
	  corpus=tests/fuzz/corpus/$$target; mkdir -p $$corpus; \
	  cargo +nightly fuzz run --fuzz-dir tests/fuzz $$target $$corpus $$seeds -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=0; done

player: player/dist/.built ## build the pages

clean: ## remove what was built
	@rm -rf target player/dist player/node_modules tests/browser/node_modules

player/dist/.built: $(PAGES)
	@echo '==> building the pages'
	@cd player && npm ci --silent && npm run --silent build
	@touch $@

tests/browser/node_modules/.installed: tests/browser/package-lock.json
	@echo '==> installing what the browser tests need'
	@cd tests/browser && npm ci --silent
	@touch $@

$(STAMPS)/python: tests/requirements.txt | $(STAMPS)/test-packages
	@echo '==> installing what the API tests need'
	@python3 -m venv --clear target/python && target/python/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(STAMPS)/%-packages: Makefile
	@$(call install,$($(if $(filter run,$*),RUN,$(if $(filter test,$*),TEST,BENCH))_PACKAGES))
	@mkdir -p $(STAMPS); touch $@
