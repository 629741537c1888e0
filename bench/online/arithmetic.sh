#!/bin/sh
# samples/grpo-arithmetic over several seeds: SFT, then GRPO, each from its own seed; exact answers to the 300 problems of
# test.jsonl, which no choice was made by (one answer each, at temperature 1).
#
#   bench/online/arithmetic.sh KEEL OUT "SEEDS" [SETTING...]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
sample=$here/../../samples/grpo-arithmetic
keel=$1 out=$2
seeds=${3:-1 2 3}
[ $# -le 3 ] && set -- || shift 3
settings=""
for setting in "$@"; do settings="$settings --set $setting"; done
mkdir -p "$out"
echo '{"rewards": [{"plugin": "exact_answer", "params": {"field": "/answer", "extract": "whole"}}]}' >"$out/rewards.json"
for seed in $seeds; do
    sft=$out/sft-$seed grpo=$out/grpo-$seed
    # shellcheck disable=SC2086
    [ -f "$sft/model.safetensors" ] || "$keel" train "$sample/sft.json" --overwrite --output-dir "$sft" \
        --set train.seed="$seed" $settings >"$sft.log" 2>&1 || { tail -5 "$sft.log"; exit 1; }
    # shellcheck disable=SC2086
    [ -f "$grpo/model.safetensors" ] || "$keel" train "$sample/config.json" --overwrite --output-dir "$grpo" \
        --set model.path="$sft" --set train.seed="$seed" $settings >"$grpo.log" 2>&1 || { tail -5 "$grpo.log"; exit 1; }
    "$keel" eval --model "$grpo" --against "$sft" --data "$sample/test.jsonl" --rewards "$out/rewards.json" \
        --max-new-tokens 6 --json >"$out/eval-$seed.json"
    echo "seed $seed"
    grep -o '"reward": *[0-9.e-]*\|"reward_interval_95": *\[[^]]*\]' "$out/eval-$seed.json" | paste - - |
        awk 'NR == 1 { print "  grpo", $0 } NR == 2 { print "  sft ", $0 }'
done
