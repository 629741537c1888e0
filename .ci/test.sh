#!/bin/bash
# All checks: build, tests, formatters, rules, samples, parsers under the address sanitizer.
#
#   .ci/test.sh [CHECK...]      only these; the names stand at the end of this file
#
# Goes on after a failure; the last line counts tests and checks together, `N passed, M failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
swift=${SWIFT:-swift}
export KEEL_STRICT=1 # warnings are errors; in all commands, or the next one would build anew
build=.build-test
. .ci/report.sh

compile() {
    # The tests look inside modules (@testable), which a release build allows only when told to.
    local options=(-c release --scratch-path $build --explicit-target-dependency-import-check error
        -Xswiftc -enable-testing)
    "$swift" build "${options[@]}" && "$swift" build --build-tests "${options[@]}"
}

# The parsers and the executable on hostile input, with every access to memory checked.
sanitized() {
    ASAN_OPTIONS=detect_leaks=0 "$swift" "$1" --sanitize=address --scratch-path .build-asan "${@:2}"
}

# The samples' configs, with their rewards and start model made first.
samples() {
    local keel=$PWD/$build/release/keel temporary code=0
    temporary=$(mktemp -d) || return 1
    samples/build-rewards.sh "$keel" &&
        "$keel" model init --config samples/model/config.json --tokenizer samples/model/tokenizer.json --seed 1 \
            "$temporary/start" || code=1
    # What best-of-n trains on is what its first command writes.
    head -n 12 samples/data/prompts.train.jsonl >"$temporary/prompts.jsonl"
    "$keel" generate --model samples/model --prompts "$temporary/prompts.jsonl" --n 4 --max-new-tokens 24 \
        --rewards samples/best-of-n/rewards.json --keep best --json >"$temporary/best.jsonl" &&
        "$keel" check samples/best-of-n/train.json --set "data.train=$temporary/best.jsonl" \
            --set train.per_device_train_batch_size=4 --output-dir "$temporary/run" || code=1
    for config in samples/*/config.json; do
        case $config in
        # The last two name what their scripts make.
        samples/model/* | samples/alol-comparison/* | samples/noisy-rewards/*) continue ;;
        samples/pretrain/*) set -- --set "model.path=$temporary/start" ;;
        samples/grpo-arithmetic/*) set -- --set "model.path=$PWD/samples/model" ;;
        *) set -- ;;
        esac
        echo "keel check $config"
        "$keel" check "$config" "$@" --output-dir "$temporary/run" || code=1
    done
    rm -rf "$temporary"
    return $code
}

# The samples that are scripts, in their small versions.
scripts() {
    local keel=$PWD/$build/release/keel out=$PWD/$build/sample-scripts code=0
    rm -rf "$out"
    COMPARISON_OUT=$out/comparison samples/alol-comparison/run.sh "$keel" || code=1
    COMPARISON_OUT=$out/comparison LIST=samples/alol-comparison/bad-rows.txt samples/alol-comparison/run.sh "$keel" || code=1
    NOISY_OUT=$out/noisy samples/noisy-rewards/run.sh "$keel" || code=1
    ROUNDS_OUT=$out/rounds samples/llama2-rounds/run.sh "$keel" || code=1
    return $code
}

# The page of the config keys is what the executable prints.
config_page() { diff -u docs/config.md <("$build/release/keel" config schema --markdown); }

no_todo() { ! grep -rnE '\b(TODO|FIXME|XXX)\b' Sources SDK Plugins Tests samples bench .ci/*.sh Makefile --include='*' \
    --exclude=test.sh; }

check build compile
tests tests "$swift" test -c release --skip-build --scratch-path $build -Xswiftc -enable-testing
check exports .ci/exports.sh $build/release
check installed .ci/installed.sh $build/release
check samples samples
check sample-scripts scripts
check config-page config_page
check instructions bench/steps/gate.sh $build/release/keel-bench-steps
check format-swift .ci/format.sh swift
check format-c .ci/format.sh c
check unsafe .ci/unsafe.sh
check no-todo no_todo
check sanitizer-build sanitized build
check sanitizer-build-tests sanitized build --build-tests
tests sanitizer sanitized test --skip-build \
    --filter 'JSONTests|ConfigReader|Safetensors|Hostile|BadInput|BrokenFiles|TokenCache|RecordFile'
check fuzz .ci/fuzz.sh 3000

summary "make test"
