#!/bin/bash
# Installs a build into a folder and works with it as somebody who has nothing else: C plugins by every compiler there
# is, through pkg-config and CMake; new plugins by `keel plugin new`; a tree that was moved.
#
#   .ci/installed.sh BUILD      the folder of the build
#
# Says what it did; ends with 1 after the first thing that is wrong.
set -eu
cd "$(dirname "$0")/.."
clone=$PWD
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

KEEL_BUILD=$1 .ci/install.sh "" "$temporary/first"
mv "$temporary/first" "$temporary/tree" # it may be moved
tree=$temporary/tree
cd "$temporary"

# Nothing of the caller's: only the tree, the system's programs, and the Swift compiler.
swift=$(command -v swiftc || true)
user() {
    env -i HOME="$temporary" PATH="$tree/bin:/usr/bin:/bin${swift:+:$(dirname "$swift")}" LANG=C.UTF-8 \
        PKG_CONFIG_PATH="$tree/lib/pkgconfig" "$@"
}
[ "$(user sh -c 'command -v keel')" = "$tree/bin/keel" ]
user keel doctor >doctor.txt || fail "keel doctor: $(cat doctor.txt)"
[ ! -e "$tree/share/keel/sdk/.git" ]
! grep -rlF "$clone" "$tree/share" "$tree/lib/pkgconfig" "$tree/lib/cmake" || fail "the tree names the clone"
readelf -d "$tree/lib/keel/keel-worker" | grep -q swift && fail "keel-worker needs the Swift runtime"

# plugin FILE ANSWERS: one exported symbol, nothing needed beyond libc, the right answers
plugin() {
    local exported needed undefined
    # What begins with an underscore belongs to the linker (gold) or the compiler (tcc).
    exported=$(nm -D --defined-only "$1" | awk '$2 ~ /[A-Z]/ && $3 !~ /^_[^Z]/ { print $3 }')
    [ "$exported" = keel_plugin_v1 ] || fail "$1 exports: $exported"
    undefined=$(nm -D -u "$1" | awk '$1 == "U" && $2 !~ /@GLIBC_/ { print $2 }')
    [ -z "$undefined" ] || fail "$1 has undefined symbols that are not libc's: $undefined"
    needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc|libm)\.so' || true)
    [ -z "$needed" ] || fail "$1 needs: $needed"
    user keel plugin eval "$1" --dtype f64 --batch - <"$clone/Tests/Fixtures/plugins/examples/$2.jsonl" \
        >answers.txt || fail "$1: $(cat answers.txt)"
}

compilers=0
for compiler in gcc clang tcc g++ clang++; do
    path=$(command -v $compiler) || continue
    compilers=$((compilers + 1))
    language=
    case $compiler in *++) language="-x c++ -std=c++20 -Wl,--as-needed" ;; esac
    for example in brief dpo ppo; do
        # shellcheck disable=SC2046,SC2086
        "$path" $language -O2 -Wall -Wextra -Wno-unused-parameter -Werror -fPIC -shared -fvisibility=hidden \
            $(user pkg-config --cflags keel) "$tree/share/keel/sdk/examples/$example.c" -o "lib$example.so" -lm ||
            fail "$compiler does not compile $example.c"
        plugin "./lib$example.so" $example
    done
    echo "$compiler: brief, dpo, ppo"
done
[ $compilers -ge 2 ] || fail "only $compilers compilers"

if command -v cmake >/dev/null; then
    mkdir project
    cp "$tree"/share/keel/sdk/examples/*.c project/
    cat >project/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(plugins C)
find_package(Keel 0.0.1 REQUIRED)
set(CMAKE_C_VISIBILITY_PRESET hidden)
foreach(name brief dpo ppo)
  add_library(${name} MODULE ${name}.c)
  target_link_libraries(${name} PRIVATE Keel::keel m)
endforeach()
CMAKE
    user cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$tree" >cmake.txt &&
        user cmake --build project/build >>cmake.txt || fail "CMake: $(cat cmake.txt)"
    for example in brief dpo ppo; do plugin "project/build/lib$example.so" $example; done
    # The project that docs/plugins.md prints.
    mkdir printed
    awk '/^```cmake CMakeLists.txt/ { on = 1; next } /^```/ { on = 0 } on' "$clone/docs/plugins.md" >printed/CMakeLists.txt
    cp "$tree/share/keel/sdk/examples/brief.c" printed/
    user cmake -S printed -B printed/build -DCMAKE_PREFIX_PATH="$tree" >cmake.txt &&
        user cmake --build printed/build >>cmake.txt || fail "CMake: $(cat cmake.txt)"
    plugin printed/build/libbrief.so brief
    sed -i 's/find_package(Keel 0.0.1/find_package(Keel 999.0/' project/CMakeLists.txt
    ! user cmake -S project -B project/newer -DCMAKE_PREFIX_PATH="$tree" >cmake.txt 2>&1 ||
        fail "CMake found a Keel 999.0"
    echo "CMake $(cmake --version | sed -n '1s/.* //p'): brief, dpo, ppo"
fi

for example in brief dpo ppo; do
    user keel plugin build "$tree/share/keel/sdk/examples/$example.c" >build.txt
    user keel plugin check "./lib$example.so" >check.txt || fail "keel plugin check: $(cat check.txt)"
    ! grep -E '^ *(warn|fail)' check.txt || fail "keel plugin check of $example warns"
done
echo "keel plugin check: brief, dpo, ppo"

for language in c ${swift:+swift}; do
    user keel plugin new reward polite_$language --lang $language >new.txt
    grep -qF "$tree/share/keel/sdk" polite_$language/Makefile || fail "the Makefile does not use the installed SDK"
    grep -qxF 'KEEL ?= keel' polite_$language/Makefile || fail "the Makefile does not use the keel in PATH"
    user make -C polite_$language test >make.txt 2>&1 || fail "make test in $language: $(cat make.txt)"
    echo "keel plugin new reward --lang $language: make test"
done
if [ -n "$swift" ]; then
    user keel plugin build polite_swift -o libpolite.so --static
    ! readelf -d libpolite.so | grep NEEDED | grep -q swift || fail "a static plugin needs the Swift runtime"
    user keel plugin eval ./libpolite.so --batch - <polite_swift/tests.jsonl >answers.txt || fail "static: $(cat answers.txt)"

    # The package that docs/plugins.md prints.
    mkdir -p package/Sources/Brief
    awk '/^```swift Package.swift/ { on = 1; next } /^```/ { on = 0 } on' "$clone/docs/plugins.md" >package/Package.swift
    cp "$tree/share/keel/sdk/examples/Brief.swift" package/Sources/Brief/
    (cd package && user KEEL_SDK="$tree/share/keel/sdk" swift build -c release >swift.txt 2>&1) ||
        fail "a package: $(cat package/swift.txt)"
    user keel plugin eval package/.build/release/libbrief.so --batch - \
        <"$clone/Tests/Fixtures/plugins/examples/brief.jsonl" >answers.txt || fail "a package: $(cat answers.txt)"
    [ "$(nm -D --defined-only package/.build/release/libbrief.so | awk '$2 ~ /[A-Z]/ { print $3 }')" = keel_plugin_v1 ] ||
        fail "a package exports more than its entry"
    echo "Swift: static, and a package of its own"

    # All of them in one process: each with its own copy of the SDK, two with the shared runtime, one with its own, and C.
    cat >together.json <<JSON
{
  "model": { "path": "$clone/samples/model", "dtype": "f32" },
  "data": { "train": "polite_c/rows.jsonl", "max_completion_length": 16 },
  "objective": { "plugin": "rloo" },
  "rewards": [
    { "plugin": "./libpolite.so", "name": "static", "run": { "isolate": "none" } },
    { "plugin": "package/.build/release/libbrief.so", "name": "package", "run": { "isolate": "none" } },
    { "plugin": "polite_swift/libpolite_swift.so", "name": "shared", "run": { "isolate": "none" } },
    { "plugin": "polite_c/libpolite_c.so", "name": "c", "run": { "isolate": "none" } },
    { "plugin": "lexicon", "params": { "words": ["a"] }, "run": { "isolate": "none" } }
  ],
  "train": { "per_device_train_batch_size": 8, "num_generations": 4, "max_steps": 2, "logging_steps": 1 },
  "output_dir": "together"
}
JSON
    user keel train together.json >train.txt 2>&1 || fail "five rewards in one process: $(cat train.txt)"
    [ "$(grep -c '"rewards/static/mean".*"rewards/package/mean"' together/metrics.jsonl)" = 2 ] ||
        fail "five rewards in one process: $(cat together/metrics.jsonl)"
    echo "five rewards in one process: C, Swift shared, static, of a package"
fi
