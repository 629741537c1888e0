#!/bin/sh
# Several rewards on noisy data: likelihood, reward-weighted likelihood and A-LoL learn from the same rows, half of which are bad.
#
#   samples/noisy-rewards/run.sh [KEEL]            a few steps
#   samples/noisy-rewards/run.sh KEEL full
#
# NOISY_OUT: where everything goes (runs/noisy-rewards). SETTINGS: more arguments for each `keel train` of a method. SHARE of bad rows (0.5).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
keel=${1:-$here/../../.build/release/keel}
size=${2:-small}
out=${NOISY_OUT:-$here/../../runs/noisy-rewards}
data=$here/../data
settings="train.seed=1 ${SETTINGS:-}"
rows=100000
steps=60
[ "$size" = small ] && rows=24 && steps=2 && settings="train.max_steps=2 train.warmup_steps=0 train.per_device_train_batch_size=4 data.max_completion_length=24 $settings"
[ -x "$keel" ] || { echo "noisy-rewards: no executable at $keel; run \`make build\` first" >&2; exit 66; }
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)

# run NAME CONFIG KEY=VALUE...
run() {
    name=$1
    config=$2
    shift 2
    for word; do
        set -- "$@" --set "$word"
        shift
    done
    echo "== $name"
    "$keel" train "$config" "$@" --output-dir "$out/$name" > "$out/$name.log" 2>&1 || { tail -n 20 "$out/$name.log" >&2; exit 1; }
}

head -n "$rows" "$data/preferences.train.jsonl" > "$out/pairs.jsonl"
head -n "$rows" "$data/prompts.valid.jsonl" > "$out/held-out.jsonl"
head -n "$rows" "$data/preferences.valid.jsonl" > "$out/valid.jsonl"
"$here/../alol-comparison/make-bad.sh" "$out/pairs.jsonl" "${SHARE:-0.5}" 1 > "$out/noisy.jsonl"
run reward "$here/../llama2-rounds/reward.json" "model.path=$here/../model" "data.train=$out/pairs.jsonl" train.max_steps="$steps"
cat > "$out/judge.json" <<JSON
{ "data": { "max_completion_length": 64 },
  "rewards": [
    { "plugin": "length", "params": { "unit": "words", "target": 18 } },
    { "plugin": "repetition", "params": { "n": 2, "score": "distinct" } },
    { "plugin": "tfidf_novelty", "name": "novelty", "params": { "against": "prompt" } },
    { "plugin": "model", "name": "learned", "model": { "path": "$out/reward" }, "params": { "sigmoid": true }, "run": { "isolate": "none" } } ],
  "sampler": { "plugin": "nucleus", "temperature": 1.0 } }
JSON
for line in 'sft objective={"plugin":"sft","reduction":"row_mean"} order={"plugin":"shuffle"}' 'wbc objective={"plugin":"wbc"}' \
    'alol objective={"plugin":"alol"}' 'alol_ref_free objective={"plugin":"alol_ref_free"}' 'alol_seq objective={"plugin":"alol_seq"}'; do
    method=${line%% *}
    # shellcheck disable=SC2086
    run "$method" "$here/config.json" ${line#* } data.train="$out/noisy.jsonl" data.valid="$out/valid.jsonl" rewards.3.model.path="$out/reward" $settings
    "$keel" eval --model "$out/$method" --against "$here/../model" --data "$out/held-out.jsonl" --rewards "$out/judge.json" --json > "$out/eval.json"
    awk -f "$here/../demo/flatten.awk" "$out/eval.json" | sed "s/^/$method /" >> "$out/values.txt"
done
awk '{ value[$1, $2] = $3; if (!($1 in known)) { known[$1] = 1; order[++count] = $1 } }
    function row(name, method, side) {
        printf "| %s | %.3f | %.3f | %.3f | %.3f | %.3f | %s | %.3f | %.1f |\n", name, value[method, side ".reward"], value[method, side ".rewards.length"], \
            value[method, side ".rewards.repetition"], value[method, side ".rewards.novelty"], value[method, side ".rewards.learned"], \
            side == "against" ? "" : sprintf("%.3f [%.3f, %.3f]", value[method, "win_rate"], value[method, "win_rate_interval_95.0"], value[method, "win_rate_interval_95.1"]), \
            value[method, side ".distinct_2_corpus"], value[method, side ".length_tokens"]
    }
    END {
        print "| model | sum | length | repetition | novelty | learned | wins against the start | distinct-2 | tokens |"
        print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        row("start", order[1], "against")
        for (i = 1; i <= count; i++) row(order[i], order[i], "model")
    }' "$out/values.txt" > "$out/table.md"
cat "$out/table.md"
