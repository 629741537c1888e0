#!/bin/sh
# Trains every method of methods.txt on the same data and writes one table: reward, win rate against the start model, distinct-n, length, KL, cost.
#
#   samples/alol-comparison/run.sh [KEEL]               the small version: the shipped model and data, a few steps
#   samples/alol-comparison/run.sh KEEL MODEL DATA      the real one; DATA is a folder that prepare-hh.sh made
#
# COMPARISON_OUT: where everything goes (runs/alol-comparison). METHODS, SEEDS: which ones. SETTINGS: more arguments for each `keel train` of a
# method. START, REWARD: a start model and a reward model that are there already. Runs that are there are not made again.
# LIST: another list of methods, as bad-rows.txt; BAD: the share of bad rows in it (0.5). START_STEPS (300): of the start model. REWARD_SETTINGS: more
# arguments for the reward model's run, as `--set KEY=VALUE`. ROWS: held-out prompts, from the first (all).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
keel=${1:-$here/../../.build/release/keel}
model=${2:-}
data=${3:-}
out=${COMPARISON_OUT:-$here/../../runs/alol-comparison}
list=${LIST:-$here/methods.txt}
table=$(basename "$list" .txt)
methods=${METHODS:-$(grep -v '^#' "$list" | cut -d ' ' -f 1)}
rows=${ROWS:-100000}
mkdir -p "$out"
out=$(cd "$out" && pwd)

if [ ! -x "$keel" ]; then
    echo "alol-comparison: no executable at $keel; run \`make build\` first" >&2
    exit 66
fi

# train NAME ARGUMENT...: a run, once; its CPU seconds go to NAME.cpu.
train() {
    name=$1
    shift
    [ -f "$out/$name/model.safetensors" ] && return
    echo "== $name"
    if ! (
        "$keel" train "$@" --overwrite --output-dir "$out/$name" > "$out/$name.log" 2>&1
        status=$?
        times > "$out/$name.cpu"
        exit $status
    ); then
        tail -n 20 "$out/$name.log" >&2
        exit 1
    fi
}

if [ -z "$model" ]; then
    # What the data lack, a score for either answer, two shipped rewards give.
    seeds=${SEEDS:-1}
    rows=${ROWS:-12}
    model=$here/../model
    data=$out/data
    settings="train.max_steps=2 train.warmup_steps=0 train.per_device_train_batch_size=4"
    length=24
    start=2
    for folder in scored short; do
        mkdir -p "$data/$folder"
        for part in train valid; do
            rm -f "$data/$folder/$part.jsonl"
            head -n 16 "$here/../data/preferences.$part.jsonl" > "$out/rows.jsonl"
            "$keel" reward label --data "$out/rows.jsonl" --rewards "$here/small-rewards.json" \
                --out "$data/$folder/$part.jsonl" > "$out/label.log" 2>&1 || { cat "$out/label.log" >&2; exit 1; }
        done
        cp "$data/$folder/valid.jsonl" "$data/$folder/test.jsonl"
    done
    rm -f "$out/rows.jsonl"
    small=yes
else
    seeds=${SEEDS:-1 2 3}
    settings=
    length=64
    start=${START_STEPS:-300}
    small=
fi
settings="$settings data.max_completion_length=$length ${SETTINGS:-}"
[ -f "$model/config.json" ] || { echo "alol-comparison: no model in $model" >&2; exit 66; }
model=$(cd "$model" && pwd)
data=$(cd "$data" && pwd)

# sets WORD...: the words as --set arguments, one a line.
sets() { for word in "$@"; do printf -- '--set\n%s\n' "$word"; done; }

# 1. The judge: a reward model fitted to the scores.
if [ -z "${REWARD:-}" ]; then
    train reward "$here/reward.json" --set model.path="$model" --set data.train="$data/scored/train.jsonl" \
        --set data.valid="$data/scored/valid.jsonl" ${small:+--set train.max_steps=2} ${REWARD_SETTINGS:-}
    REWARD=$out/reward
fi
# 2. The start of all methods and their reference: the model after likelihood training on the better answers.
shared="data.train=$data/short/train.jsonl data.valid=$data/short/valid.jsonl rewards.0.model.path=$REWARD"
if [ -z "${START:-}" ]; then
    # shellcheck disable=SC2046,SC2086
    train start "$here/config.json" $(sets model.path="$model" $shared $settings train.max_steps=$start)
    START=$out/start
fi
cat > "$out/judge.json" <<JSON
{ "data": { "max_completion_length": $length },
  "rewards": [ { "plugin": "model", "name": "reward_model", "model": { "path": "$REWARD" }, "run": { "isolate": "none" } } ],
  "sampler": { "plugin": "nucleus", "temperature": 1.0, "stop": ["\\n\\nHuman:"] } }
JSON
# 3. Every method, every seed.
: > "$out/$table.values"
for method in $methods; do
    for seed in $seeds; do
        run=$method-$seed
        line=$(grep "^$method " "$list" | cut -d ' ' -f 2- | sed "s|@CLEAN@|$out/clean.jsonl|; s|@BAD@|$out/bad-$seed.jsonl|")
        case $line in
        *"$out/clean.jsonl"*) [ -f "$out/clean.jsonl" ] || "$here/make-bad.sh" "$data/short/train.jsonl" 0 1 > "$out/clean.jsonl" ;;
        *"$out/bad-$seed.jsonl"*)
            "$here/make-bad.sh" "$data/short/train.jsonl" "${BAD:-0.5}" "$seed" > "$out/bad-$seed.jsonl"
            ;;
        esac
        # shellcheck disable=SC2046,SC2086
        train "$run" "$here/config.json" $(sets model.path="$START" $shared $line $settings train.seed=$seed)
        if [ ! -f "$out/$run/eval.json" ]; then
            "$keel" eval --model "$out/$run" --against "$START" --data "$data/short/test.jsonl" --rows "$rows" \
                --rewards "$out/judge.json" --json > "$out/$run/eval.tmp"
            mv "$out/$run/eval.tmp" "$out/$run/eval.json"
        fi
        awk -f "$here/../demo/flatten.awk" "$out/$run/eval.json" | sed "s/^/$method $seed /" >> "$out/$table.values"
        # `times` writes 0m1.20s 0m0.30s of the shell, then of what it ran.
        awk -v name="$method $seed" 'NR == 2 {
            gsub(/s/, ""); split($1, user, "m"); split($2, kernel, "m")
            print name, "cpu", 60 * (user[1] + kernel[1]) + user[2] + kernel[2]
        }' "$out/$run.cpu" >> "$out/$table.values"
        sed -n 's/.*"num_tokens":\([0-9.]*\).*/\1/p' "$out/$run/metrics.jsonl" | tail -n 1 |
            sed "s/^/$method $seed tokens /" >> "$out/$table.values"
    done
done
# 4. The table, and a chart of it.
awk -v methods="$methods" -v csv="$out/$table.csv" -f "$here/table.awk" "$out/$table.values" > "$out/$table.md"
cat "$out/$table.md"
"$keel" report --table "$out/$table.csv" --metric reward --metric win_rate --metric distinct_2 --metric kl --svg "$out/$table.svg"
