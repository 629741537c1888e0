#!/bin/sh
# Every plugin exports its entry and nothing else (lower-case kinds of nm are local symbols); what is written in C needs
# the C library only, keel-worker also libffi, and PCRE2 what searches by patterns.
#
#   .ci/exports.sh FOLDER      the folder of keel-worker and libkeel-*.so
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
# The plugins without a Swift file, by the names of their products.
plain=$1/keel-worker
for folder in Plugins/*; do
    ls "$folder"/*.swift >/dev/null 2>&1 && continue
    name=$(sed -n "s/.*\"$(basename "$folder")\": \"\([a-z0-9_]*\)\".*/\1/p" Package.swift)
    [ -n "$name" ] || continue # sources that several plugins share
    plain="$plain $1/libkeel-$name.so"
done
for file in $plain; do
    known='libc|libm|ld-linux.*'
    case $file in
    */keel-worker) known="$known|libffi" ;;
    */libkeel-judge.so | */libkeel-regex.so) known="$known|libpcre2-8" ;;
    esac
    needs=$(readelf -d "$file" | awk '/NEEDED/ { print $NF }' | grep -vE "^\[($known)\.so" | tr '\n' ' ')
    if [ -n "$needs" ]; then
        echo "$file needs $needs"
        found=1
    fi
done
[ "$count" -gt 0 ] || { echo "no plugins in $1"; exit 1; }
exit $found
