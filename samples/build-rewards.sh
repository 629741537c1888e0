#!/bin/sh
# Compiles the samples' custom rewards, one in C, one in Swift and one plain library, next to their sources.
#
#   samples/build-rewards.sh KEEL
set -eu
samples=$(cd "$(dirname "$0")" && pwd)
"$1" plugin build "$samples/custom-reward-c/concise.c" -o "$samples/custom-reward-c/libconcise.so"
"$1" plugin build "$samples/custom-reward-swift/OnTopic.swift" -o "$samples/custom-reward-swift/libon_topic.so"
${CC:-cc} -O2 -shared -fPIC "$samples/native-reward/textscore.c" -o "$samples/native-reward/libtextscore.so"
