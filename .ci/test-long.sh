#!/bin/bash
# What takes too long for every change: all tests under the address sanitizer, threads and workers under the thread sanitizer.
#
#   .ci/test-long.sh [CHECK...]      only these; the names stand at the end of this file
#
# Goes on after a failure; the last line counts tests and checks together, `N passed, M failed`.
set -u
cd "$(dirname "$0")/.." || exit 1
swift=${SWIFT:-swift}
build=.build-long
. .ci/report.sh

# sanitize KIND COMMAND...: `swift COMMAND` with every product built for the sanitizer
sanitize() {
    local kind=$1 command=$2
    shift 2
    # Optimised: whole runs are part of the suite. Plugins are loaded by the executable and take the sanitizer's functions from it,
    # and a plugin in C++ can throw only where the sanitizer has met the library of C++ when it starts. Keel says the last words itself.
    ASAN_OPTIONS=detect_leaks=0:handle_segv=0 TSAN_OPTIONS="suppressions=$PWD/.ci/tsan.supp halt_on_error=0" \
        "$swift" "$command" -c release -Xswiftc -enable-testing "--sanitize=$kind" --scratch-path "$build/$kind" \
        -Xlinker --export-dynamic -Xlinker --no-as-needed -Xlinker -lstdc++ "$@"
}

check thread-build sanitize thread build --build-tests
# A library that ends the process while it is loaded ends it inside of the sanitizer's own loader.
tests thread sanitize thread test --skip-build --filter 'Worker|ThreadPool|NativeReward|Overlap' \
    --skip aFileThatDoesHarmWhenItIsLoaded
check address-build sanitize address build --build-tests
# Left out: the conformance suite judges symbols and growing memory of plugins, which the sanitizer itself changes, the zoo's
# plugins do harm to memory on purpose, and a process of the sanitizer holds more than any plan.
tests address sanitize address test --skip-build \
    --skip 'Conformance(Good|Zoo)Tests|everyKindBuildsTestsAndTrains|thePageOnPluginsHolds|thePlanIsWhatARunHolds'
summary "make test-long"
