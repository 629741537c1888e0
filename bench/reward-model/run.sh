#!/bin/sh
# A reward model of HH's preferences, in four runs: a base that knows longer texts, the scores of the data, the pairs; then the test pairs.
#
#   bench/reward-model/run.sh KEEL MODEL HH OUT
#
# HH has train.jsonl, valid.jsonl and test.jsonl; MODEL is a language model's folder. PAIRS: all (default), or agree: those whose scores say what the
# people said. EPOCHS of the base (2). SETTINGS: more `--set` arguments for each run. PYTHON (python3, with torch and transformers) judges the result;
# without them that step is left out. About 8 CPU minutes.
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
keel=$1
model=$2
hh=$3
out=$4
pairs=${PAIRS:-all}
mkdir -p "$out"
out=$(cd "$out" && pwd)
"$here/../../samples/alol-comparison/prepare-hh.sh" "$hh" "$out/data"

# Both answers of each pair as a text, and the pairs on which people and scores agree.
for part in train valid; do
    sed -E 's/.*"prompt":"(([^"\\]|\\.)*)","chosen":"(([^"\\]|\\.)*)","rejected":"(([^"\\]|\\.)*)".*/{"text":"\1\3"}\n{"text":"\1\5"}/' \
        "$out/data/all/$part.jsonl" > "$out/data/text.$part.jsonl"
done
awk '
    function number(key) {
        return match($0, "\"" key "\":-?[0-9.eE+-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0
    }
    number("chosen_score") > number("rejected_score")' "$out/data/scored/train.jsonl" > "$out/data/agree.jsonl"
cp "$out/data/all/train.jsonl" "$out/data/all.jsonl"

# train CONFIG NAME MODEL KEY=VALUE...
train() {
    config=$1
    name=$2
    from=$3
    shift 3
    # shellcheck disable=SC2086
    set -- "model.path=$from" "$@" ${SETTINGS:-}
    for word; do
        set -- "$@" --set "$word"
        shift
    done
    echo "== $name"
    "$keel" train "$here/$config.json" "$@" --output-dir "$out/$name" > "$out/$name.log" 2>&1 || { tail -n 20 "$out/$name.log" >&2; exit 1; }
}

train base base "$model" "data.train=$out/data/text.train.jsonl" "data.valid=$out/data/text.valid.jsonl" "train.num_train_epochs=${EPOCHS:-2}"
train scores scores "$out/base" "data.train=$out/data/scored/train.jsonl" "data.valid=$out/data/scored/valid.jsonl"
train pairs pairs "$out/scores" "data.train=$out/data/$pairs.jsonl" "data.valid=$out/data/all/valid.jsonl"

for name in scores pairs; do
    "$keel" reward try model --model "$out/$name" --data "$out/data/all/test.jsonl" --json > "$out/$name.test.json"
    echo "== $name on the test pairs"
    if "${PYTHON:-python3}" -c 'import torch, transformers' 2> "$out/python.log"; then
        "${PYTHON:-python3}" "$here/accuracy.py" "$model" "$out/$name" "$out/data/all/test.jsonl" "$out/$name.test.json"
    fi
done
