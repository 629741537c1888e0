#!/bin/sh
# The rows of the benchmark: pairs of like length side by side, one batch for each of STEPS even quantiles of the data.
#
#   bench/rows.sh DATA.jsonl STEPS [PAIRS] > rows.jsonl
#
# DATA    HH pairs (fields prompt, chosen, rejected); those of "source": "harmless-base" are taken where any are
# STEPS   batches; their order is shuffled by a fixed rule, so that lengths do not grow from step to step
# PAIRS   rows of a batch (8)
#
# Lengths are bytes, which need no tokenizer: a stand-in for tokens that is the same for every program that is measured.
# Lines of more than 2,400 bytes are left out, so that (nearly) nothing is cut at 512 tokens.
set -eu
data=$1 steps=$2 pairs=${3:-8}
scratch=$(mktemp)
trap 'rm -f "$scratch"' EXIT
grep '"source": *"harmless-base"' "$data" >"$scratch" || cat "$data" >"$scratch"
LC_ALL=C awk 'length($0) <= 2400 { print length($0) "\t" NR "\t" $0 }' "$scratch" | sort -n -k1,1 -k2,2 | cut -f3- |
    LC_ALL=C awk -v steps="$steps" -v pairs="$pairs" '
        { line[NR] = $0 }
        END {
            for (i = 0; i < steps; i++) {
                step = (i * 7 + 3) % steps # 7 and steps must have no common factor
                if (steps % 7 == 0) step = i
                start = int((step + 0.5) / steps * NR - pairs / 2)
                if (start < 0) start = 0
                if (start > NR - pairs) start = NR - pairs
                for (k = 1; k <= pairs; k++) print line[start + k]
            }
        }'
