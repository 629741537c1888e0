# make build          the executable and the plugins, release, under .build/release
# make demo           builds, then fine-tunes the shipped model and shows what changed
# make test           everything that CI runs
# make test-long      all tests under the address sanitizer, threads and workers under the thread sanitizer
# make install        lays out bin, lib, include and share under PREFIX (and DESTDIR)
# make bench          timings
# make format         formats Swift and C
#
# Each first installs what is missing of the Debian packages it needs (.ci/setup.sh).

PREFIX ?= /usr/local
SWIFT ?= swift
export SWIFT

.PHONY: build demo test test-long install bench format setup clean

setup:
	@.ci/setup.sh build

build: setup
	@.ci/timed.sh build $(SWIFT) build -c release

demo: build
	@.ci/timed.sh demo samples/demo/run.sh .build/release/keel

test:
	@.ci/setup.sh test
	@.ci/test.sh

test-long:
	@.ci/setup.sh test
	@.ci/test-long.sh

install: build
	@.ci/install.sh "$(DESTDIR)" "$(PREFIX)"

bench: build
	@samples/build-rewards.sh .build/release/keel
	@.ci/timed.sh bench bench/startup.sh .build/release/keel samples/dpo/config.json
	@.build/release/keel plugin build bench/worker/bytes.c -o .build/release/bench-bytes.so
	@.build/release/keel-bench .build/release/bench-bytes.so
	@.build/release/keel-bench-tokenizer samples/model samples/data/pretrain.jsonl 20
	@bench/all.sh .build/release/keel

format:
	@.ci/setup.sh test
	@.ci/format.sh fix

clean:
	rm -rf .build .build-test .build-asan .build-long .build-fuzz
