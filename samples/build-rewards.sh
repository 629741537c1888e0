#!/bin/sh
# Compiles the samples' two custom rewards, one in C and one in Swift, next to their sources.
#
#   samples/build-rewards.sh KEEL
set -eu
samples=$(cd "$(dirname "$0")" && pwd)
"$1" plugin build "$samples/custom-reward-c/concise.c" -o "$samples/custom-reward-c/libconcise.so"
"$1" plugin build "$samples/custom-reward-swift/OnTopic.swift" -o "$samples/custom-reward-swift/libon_topic.so"
