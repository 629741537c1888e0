#!/bin/sh
# The formatters over our Swift and C.
#
#   .ci/format.sh fix|swift|c      fix: rewrite the files; swift, c: end with 1 when a file is not as it should be
set -eu
cd "$(dirname "$0")/.."
swift=${SWIFT:-swift}
swift_files() {
    git ls-files -co --exclude-standard -- '*.swift'
}
c_files() {
    git ls-files -co --exclude-standard -- '*.c' '*.h'
}
case $1 in
fix)
    swift_files | xargs "$swift" format format --in-place --parallel
    c_files | xargs clang-format -i
    ;;
swift) swift_files | xargs "$swift" format lint --strict --parallel ;;
c) c_files | xargs clang-format --dry-run -Werror ;;
esac
