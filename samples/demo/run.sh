#!/bin/sh
# The demo on what the repository ships: builds two custom rewards, fine-tunes the small model by SFT, DPO and RLOO, and
# compares each result with the model it started from. Called by `make demo`.
#
#   samples/demo/run.sh [KEEL]      KEEL: the executable, .build/release/keel of this repository if left out
#
# KEEL_PLUGIN_PATH names the folder of the built-in plugins where they are not beside the executable.
# DEMO_OUT: where the runs go, runs/demo if not set. DEMO_ARGS: more arguments for `keel train`.
set -eu

samples=$(cd "$(dirname "$0")/.." && pwd)
keel=${1:-$samples/../.build/release/keel}
out=${DEMO_OUT:-$samples/../runs/demo}
model=$samples/model
prompts=$samples/data/prompts.valid.jsonl
rewards=$samples/rloo/config.json
begin=$(date +%s)

say() { printf '\n== %s\n' "$*"; }
clock() { echo "$(($(date +%s) - begin)) s"; }

if [ ! -x "$keel" ]; then
    echo "demo: no executable at $keel; run \`make build\` first" >&2
    exit 66
fi
if [ ! -f "$model/model.safetensors" ]; then
    echo "demo: $model/model.safetensors is missing; samples/pretrain/README.md says how it is made" >&2
    exit 66
fi
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)

say "two rewards of your own: one in C, one in Swift"
"$samples/build-rewards.sh" "$keel"

for method in sft dpo rloo; do
    say "$method: keel train samples/$method/config.json ($(clock))"
    # shellcheck disable=SC2086
    "$keel" train "$samples/$method/config.json" --output-dir "$out/$method" ${DEMO_ARGS:-}
done

say "answers to $(wc -l < "$prompts") held-out questions, scored by the rewards ($(clock))"
for method in sft dpo rloo; do
    "$keel" eval --model "$out/$method" --against "$model" --data "$prompts" --rewards "$rewards" --json \
        > "$out/$method/eval.json"
    awk -f "$samples/demo/flatten.awk" "$out/$method/eval.json" > "$out/$method.values"
done

say "before and after"
awk -v methods="sft dpo rloo" -v out="$out" -f "$samples/demo/table.awk"
rm -f "$out"/*.values

say "a few held-out questions, answered by each model"
grep -E 'place for a ruler|for a sail|special about pigs|keep a cutting board' "$prompts" > "$out/questions.jsonl"
for name in start sft dpo rloo; do
    folder=$out/$name
    [ $name = start ] && folder=$model
    "$keel" generate --model "$folder" --prompts "$out/questions.jsonl" --max-new-tokens 80 --temperature 0.7 \
        --seed 1 --json |
        sed "s/.*\"completion\":[ ]*\"\(.*\)\",[ ]*\"logprobs\".*/  $name\t\1/" > "$out/$name.answers"
done
sed 's/.*"Question: \(.*\)\\nAnswer:".*/\1/' "$out/questions.jsonl" |
    paste -d '\n' - "$out/start.answers" "$out/sft.answers" "$out/dpo.answers" "$out/rloo.answers"
rm -f "$out"/*.answers

say "the report: curves, samples and tables of all three, for a browser"
"$keel" report "$out/sft" "$out/dpo" "$out/rloo" --title "The demo: SFT, DPO and RLOO" --out "$out/report.html"
echo "TensorBoard: tensorboard --logdir $out"
say "the demo took $(clock)"
