#!/bin/sh
# The yardstick of the learning runs: mean reward of one answer, and of the best of N, of the start model to every
# held-out prompt.
#
#   bench/online/best-of-n.sh KEEL [N]        N: 64
set -eu
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../../samples
"$samples/build-rewards.sh" "$1" >/dev/null
"$1" generate --model "$samples/model" --prompts "$samples/data/prompts.valid.jsonl" --n "${2:-64}" --max-new-tokens 48 \
    --rewards "$here/config.json" --keep all --json --seed 1 |
    awk -v n="${2:-64}" '
        match($0, /"reward": *-?[0-9.e+-]+/) {
            reward = substr($0, RSTART, RLENGTH); sub(/^[^:]*: */, "", reward); reward += 0
            if (rows % n == 0 || reward > best) best = reward
            sum += reward
            if (++rows % n == 0) { tops += best; prompts++ }
        }
        END {
            start = sum / rows; top = tops / prompts
            printf "%d prompts: one answer %.3f, best of %d %.3f, 90 %% of that gain %.3f\n",
                prompts, start, n, top, start + 0.9 * (top - start)
        }'
