#!/bin/bash
# Mutated files for every parser of foreign bytes, with the address sanitizer and libFuzzer.
#
#   .ci/fuzz.sh [RUNS [PARSER...]]      so many inputs for each parser (2000 if not given); a crash leaves its input in .build-fuzz/found
set -u
cd "$(dirname "$0")/.." || exit 1
swift=${SWIFT:-swift}
runs=${1:-2000}
build=.build-fuzz
export KEEL_FUZZ=1 ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1

clang=$(dirname "$(readlink -f "$(command -v "$swift")")")/clang
library=$("$clang" -print-resource-dir)/lib/linux/libclang_rt.fuzzer_no_main-$(uname -m).a
[ -e "$library" ] || {
    echo "the compiler brings no $library"
    exit 1
}
"$swift" build -c release --product keel-fuzz --scratch-path $build --sanitize=address \
    -Xswiftc -sanitize-coverage=edge,inline-8bit-counters,pc-table \
    -Xcc -fsanitize-coverage=inline-8bit-counters,pc-table -Xlinker "$library" -Xlinker -lstdc++ || exit 1

# Valid files to begin with.
seeds() {
    case $1 in
    json) find Tests/Fixtures -name '*config*.json' -size -8k ;;
    jsonl) find samples -name '*.jsonl' -size -64k ;;
    tokenizer) find Tests/Fixtures/tokenizers/small_* Tests/Fixtures/models -name tokenizer.json ;;
    template) find Tests/Fixtures Tests/Fuzz/templates -name '*.jinja' ;;
    config) find Tests/Fixtures/models -name config.json ;;
    safetensors) find Tests/Fixtures/safetensors -name '*.safetensors' -size -8k ;;
    adapter_config) find Tests/Fixtures -name adapter_config.json ;;
    adapter_weights) find Tests/Fixtures -name adapter_model.safetensors -size -64k ;;
    esac
}

code=0
mkdir -p $build/found
for parser in ${2:+"${@:2}"} ${2:-json jsonl tokenizer template config safetensors adapter_config adapter_weights}; do
    corpus=$build/corpus/$parser
    mkdir -p "$corpus"
    seeds "$parser" | while read -r file; do cp "$file" "$corpus/seed-$(echo "$file" | tr / -)"; done
    if "$build/release/keel-fuzz" "$parser" "-runs=$runs" -seed=1 -max_len=16384 -timeout=20 -rss_limit_mb=4096 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix=$build/found/"$parser"- "$corpus" >$build/"$parser".log 2>&1; then
        echo "ok      fuzz $parser ($(grep -o 'number_of_executed_units: *[0-9]*' $build/"$parser".log | grep -o '[0-9]*$') inputs)"
    else
        code=1
        echo "FAILED  fuzz $parser: $build/$parser.log"
        tail -n 40 $build/"$parser".log | sed 's/^/    /'
    fi
done
exit $code
