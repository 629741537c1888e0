#!/bin/sh
# `make bench`: makes the models, picks the rows, times every job of bench/run.sh.
#
#   bench/all.sh KEEL [JOB...]
#
# DATA       pairs (HH: prompt, chosen, rejected); without it the sample's, which are much shorter
# TOKENIZER  of the model of 135M parameters, at most 49,152 tokens; without it the sample's
# WORK       where models and rows go (.build/bench); STEPS: batches (6); THREADS (2)
set -eu
keel=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
work=${WORK:-$here/../.build/bench}
data=${DATA:-$here/../samples/data/preferences.train.jsonl}
mkdir -p "$work"
"$here/models.sh" "$keel" "${TOKENIZER:-$here/../samples/model/tokenizer.json}" "$work"
"$here/rows.sh" "$data" "${STEPS:-6}" >"$work/rows.jsonl"
unset STEPS
"$here/run.sh" "$keel" "$work" "$work/rows.jsonl" "$@"
