#!/bin/sh
# Every plugin exports its entry and nothing else (lower-case kinds of nm are local symbols).
#
#   .ci/exports.sh FOLDER      the folder of libkeel-*.so
set -eu
found=0
count=0
for file in "$1"/libkeel-*.so; do
    count=$((count + 1))
    symbols=$(nm -D --defined-only "$file" | awk '$2 ~ /[A-Z]/ && $2 != "A" { print $3 }' | tr '\n' ' ')
    if [ "$symbols" != "keel_plugin_v1 " ]; then
        echo "$file exports: $symbols"
        found=1
    fi
done
[ "$count" -gt 0 ] || { echo "no plugins in $1"; exit 1; }
exit $found
