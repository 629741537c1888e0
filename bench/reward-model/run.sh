#!/bin/sh
# A reward model of HH's preferences, in two runs: a base that knows longer texts; what a linear model fitted to the pairs says of answers' words and
# lengths (targets.awk). Then the test pairs, once. The reward model is told the kind of a conversation: a row's source stands where the prompt's last
# "Assistant" was.
#
#   bench/reward-model/run.sh KEEL MODEL HH OUT
#
# HH has train.jsonl, valid.jsonl and test.jsonl; MODEL is a language model's folder. A stage that OUT has already is kept. PYTHON (python3, with torch
# and transformers) judges the result; without them that step is left out. About 10 CPU minutes.
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
keel=$1
model=$2
hh=$3
out=$4
mkdir -p "$out"
out=$(cd "$out" && pwd)
data=$out/data
"$here/../../samples/alol-comparison/prepare-hh.sh" "$hh" "$data"

# Both answers of each pair as a text, and the linear model's targets; the test pairs have no part in them.
for part in train valid; do
    sed -E 's/.*"prompt":"(([^"\\]|\\.)*)","chosen":"(([^"\\]|\\.)*)","rejected":"(([^"\\]|\\.)*)".*/{"text":"\1\3"}\n{"text":"\1\5"}/' \
        "$data/all/$part.jsonl" > "$data/text.$part.jsonl"
    awk -f "$here/targets.awk" "$data/all/train.jsonl" "$data/all/$part.jsonl" > "$data/targets.$part.jsonl"
done

# train NAME MODEL TRAIN VALID
train() {
    if [ -f "$out/$1/model.safetensors" ]; then return; fi
    echo "== $1"
    "$keel" train "$here/$1.json" --set "model.path=$2" --set "data.train=$data/$3" --set "data.valid=$data/$4" --overwrite --output-dir "$out/$1" \
        > "$out/$1.log" 2>&1 || { tail -n 20 "$out/$1.log" >&2; exit 1; }
}

train base "$model" text.train.jsonl text.valid.jsonl
train words "$out/base" targets.train.jsonl targets.valid.jsonl

# TEST=no ends here.
[ "${TEST:-yes}" = yes ] || exit 0
# The source in the prompt, as in the targets.
sed -E 's/"source":"([^"]*)","prompt":"(([^"\\]|\\.)*)Assistant:","chosen":/"source":"\1","prompt":"\2\1:","chosen":/' \
    "$data/all/test.jsonl" > "$data/kinds.test.jsonl"
"$keel" reward try model --model "$out/words" --data "$data/kinds.test.jsonl" --json > "$out/test.json"
if "${PYTHON:-python3}" -c 'import torch, transformers' 2> "$out/python.log"; then
    "${PYTHON:-python3}" "$here/accuracy.py" "$model" "$out/words" "$data/all/test.jsonl" "$data/kinds.test.jsonl" "$out/test.json"
fi
