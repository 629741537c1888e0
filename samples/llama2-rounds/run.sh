#!/bin/sh
# Llama-2's iterations: two reward models, rejection sampling, a memory of all rounds, and reward models that follow the policy.
#
#   samples/llama2-rounds/run.sh [KEEL]            a few prompts and steps
#   samples/llama2-rounds/run.sh KEEL full         all prompts
#
# Every round is a few ordinary commands: `keel generate --n --rewards --keep best` (the best of n answers of the newest model), `keel train` (from
# the start model, on the best answers of all rounds), `keel generate --keep all` and `keel train` (new pairs from the newest model, new reward models on all
# pairs so far). ROUNDS_OUT: where everything goes (runs/llama2-rounds). ROUNDS, SAMPLES: how many, and n. POOL=last forgets earlier rounds. SETTINGS: more
# arguments for each `keel train`. TEMPERATURES: of the rounds' sampling.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
keel=${1:-$here/../../.build/release/keel}
size=${2:-small}
out=${ROUNDS_OUT:-$here/../../runs/llama2-rounds}
data=$here/../data
start=$here/../model
rounds=${ROUNDS:-3}
n=${SAMPLES:-4}
settings=${SETTINGS:-}
prompts=100000
pairs=100000
if [ "$size" = small ]; then
    rounds=${ROUNDS:-2}
    prompts=8
    pairs=16
    settings="train.max_steps=2 train.per_device_train_batch_size=4 data.max_completion_length=24 $settings"
fi
[ -x "$keel" ] || { echo "llama2-rounds: no executable at $keel; run \`make build\` first" >&2; exit 66; }
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
head -n "$prompts" "$data/prompts.train.jsonl" > "$out/prompts.jsonl"
head -n "$prompts" "$data/prompts.valid.jsonl" > "$out/held-out.jsonl"

# train CONFIG NAME KEY=VALUE...
train() {
    config=$1
    name=$2
    shift 2
    # shellcheck disable=SC2086
    set -- "$@" $settings
    for word; do
        set -- "$@" --set "$word"
        shift
    done
    "$keel" train "$here/$config" "$@" --output-dir "$out/$name" > "$out/$name.log" 2>&1 || { tail -n 20 "$out/$name.log" >&2; exit 1; }
}

# sample MODEL CONFIG KEEP TEMPERATURE SEED
sample() {
    "$keel" generate --model "$1" --prompts "$out/prompts.jsonl" --n "$n" --rewards "$2" --keep "$3" --temperature "$4" --seed "$5" \
        --max-new-tokens 64 --json
}

# judge ROUND: both reward models of a round as one reward. Llama-2's rule: where the answer is likely to be bad in form, that alone counts.
judge() {
    cat > "$out/judge-$1.json" <<JSON
{ "data": { "max_completion_length": 64 },
  "rewards": [
    { "plugin": "model", "name": "clean", "model": { "path": "$out/clean-$1" }, "params": { "sigmoid": true }, "run": { "isolate": "none" } },
    { "plugin": "model", "name": "helpful", "model": { "path": "$out/helpful-$1" }, "params": { "sigmoid": true }, "run": { "isolate": "none" } } ],
  "combine": { "rule": "gated", "gate": "clean", "threshold": 0.15, "transform": "none" },
  "sampler": { "plugin": "nucleus", "temperature": 1.0 } }
JSON
}

# The first reward models learn from the shipped pairs: by content, and by form.
grep '"why": "content"' "$data/preferences.train.jsonl" | head -n "$pairs" > "$out/helpful.pairs.jsonl"
grep -v '"why": "content"' "$data/preferences.train.jsonl" | head -n "$pairs" > "$out/clean.pairs.jsonl"
policy=$start
: > "$out/pool.jsonl"
round=1
for temperature in ${TEMPERATURES:-1.0 0.9 0.8 0.8 0.8}; do
    [ "$round" -le "$rounds" ] || break
    echo "== round $round: reward models from $(wc -l < "$out/helpful.pairs.jsonl") and $(wc -l < "$out/clean.pairs.jsonl") pairs"
    for kind in helpful clean; do train reward.json "$kind-$round" "data.train=$out/$kind.pairs.jsonl" "model.path=$start"; done
    judge "$round"

    echo "== round $round: the best of $n answers to $(wc -l < "$out/prompts.jsonl") prompts, at temperature $temperature"
    sample "$policy" "$out/judge-$round.json" best "$temperature" "$round" > "$out/best-$round.jsonl" 2> "$out/best-$round.log"
    [ "${POOL:-all}" = last ] && : > "$out/pool.jsonl"
    cat "$out/best-$round.jsonl" >> "$out/pool.jsonl"
    train config.json "policy-$round" "data.train=$out/pool.jsonl" "model.path=$start"
    policy=$out/policy-$round

    echo "== round $round: new pairs from the new model"
    sample "$policy" "$here/annotator.json" all 1.0 "$((100 + round))" > "$out/answers-$round.jsonl" 2> "$out/answers-$round.log"
    awk -v names=helpful -v weights=-1 -v scale=0.6 -v n="$n" -f "$here/pairs.awk" "$out/answers-$round.jsonl" >> "$out/helpful.pairs.jsonl"
    awk -v names="clean length" -v weights="-1 0.5" -v scale=0.6 -v n="$n" -f "$here/pairs.awk" "$out/answers-$round.jsonl" >> "$out/clean.pairs.jsonl"
    "$keel" eval --model "$policy" --against "$start" --data "$out/held-out.jsonl" --rewards "$here/annotator.json" --json > "$out/eval-$round.json"
    awk -f "$here/../demo/flatten.awk" "$out/eval-$round.json" | sed "s/^/$round /" >> "$out/values.txt"
    round=$((round + 1))
done
awk '{ value[$1, $2] = $3; if ($1 > last) last = $1 }
    function row(name, round, side) {
        printf "| %s | %.3f | %.3f | %.3f | %.3f | %s | %.1f | %.3f |\n", name, value[round, side ".reward"], value[round, side ".rewards.helpful"], \
            value[round, side ".rewards.clean"], value[round, side ".rewards.length"], \
            side == "against" ? "" : sprintf("%.3f [%.3f, %.3f]", value[round, "win_rate"], value[round, "win_rate_interval_95.0"], value[round, "win_rate_interval_95.1"]), \
            value[round, side ".length_tokens"], value[round, side ".distinct_2_corpus"]
    }
    END {
        print "| model | the annotator: sum | distance to the keywords | repeats | length | wins against the start | tokens | distinct-2 |"
        print "| --- | --- | --- | --- | --- | --- | --- | --- |"
        row("start", 1, "against")
        for (i = 1; i <= last; i++) row("round " i, i, "model")
    }' "$out/values.txt" > "$out/table.md"
cat "$out/table.md"
