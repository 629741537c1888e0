#!/bin/sh
# The collapse figure of "Secrets of RLHF" at this size: proxy and gold reward of plain PPO without KL, PPO and PPO-max.
#
#   bench/online/collapse.sh KEEL OUT "METHODS" "SEEDS" [SETTING...]       methods: no_kl ppo ppo_max
#
# 1. The start model answers 128 prompts four times; the rule (samples/custom-reward-c) scores them.
# 2. A reward model learns those scores. 3. Every method is trained on what it says.
# Ends with a line per run: proxy and gold at the start, at gold's best, at the end; KL, length and different answers.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../../samples
keel=$1 out=$2
methods=${3:-no_kl ppo ppo_max}
seeds=${4:-1}
[ $# -le 4 ] && set -- || shift 4
settings=""
for setting in "$@"; do settings="$settings --set $setting"; done

"$samples/build-rewards.sh" "$keel" >/dev/null
mkdir -p "$out"
out=$(cd "$out" && pwd)
answers() { # prompts, number, file
    head -n "$2" "$samples/data/$1" >"$out/prompts.jsonl"
    "$keel" generate --model "$samples/model" --prompts "$out/prompts.jsonl" --n 4 --max-new-tokens 48 --seed 1 \
        --rewards "$here/config.json" --keep all --json >"$3"
}
proxy=$out/reward-model
if [ ! -f "$proxy/model.safetensors" ]; then
    answers prompts.train.jsonl 128 "$out/answers.train.jsonl"
    answers prompts.valid.jsonl 64 "$out/answers.valid.jsonl"
    # shellcheck disable=SC2086
    "$keel" train "$here/reward-model.json" --overwrite --output-dir "$proxy" $settings \
        --set "data.train=$out/answers.train.jsonl" --set "data.valid=$out/answers.valid.jsonl"
fi
for method in $methods; do
    line="" # PPO-max has a buffer of four steps and makes one pass.
    case $method in
    no_kl) line='{"plugin": "ppo", "params": {"kl_coef": 0, "vf_coef": 0.5}}' ;;
    ppo) line='{"plugin": "ppo", "params": {"kl_coef": 0.05, "vf_coef": 0.5}}' ;;
    ppo_max)
        line='{"plugin": "ppo_max", "params": {"critic_warmup_steps": 20}}'
        own="--set train.rollout_batch_size=128 --set train.num_iterations=1"
        ;;
    esac
    for seed in $seeds; do
        run=$out/$method-$seed
        [ -f "$run/model.safetensors" ] && continue
        # shellcheck disable=SC2086
        "$keel" train "$here/collapse.json" --overwrite --output-dir "$run" --set "objective=$line" ${own:-} $settings \
            --set train.seed="$seed" --set "rewards.0.model.path=$proxy" >"$run.log" 2>&1 || { tail -5 "$run.log"; exit 1; }
    done
    own=""
done
printf '%-12s %29s %29s %29s %7s %7s %7s\n' run 'start: proxy, gold' "gold's best: step, proxy, gold" 'end: proxy, gold' kl length unique
for file in "$out"/*/metrics.jsonl; do
    awk -v run="$(basename "$(dirname "$file")")" '
        function value(name,   at) {
            if (!match($0, "\"" name "\": *-?[0-9.e+-]+")) return ""
            at = substr($0, RSTART, RLENGTH)
            sub(/^"[^"]*": */, "", at)
            return at + 0
        }
        value("rewards/gold/mean") != "" {
            proxy = value("rewards/proxy/mean"); gold = value("rewards/gold/mean")
            if (n++ == 0) { p0 = proxy; g0 = gold }
            if (n == 1 || gold > best) { best = gold; at = value("step"); there = proxy }
            kl = value("objective/kl"); tokens = value("res_len"); unique = value("completions/unique_ratio")
        }
        END { if (n) printf "%-12s %21.3f %7.3f %13d %7.3f %7.3f %21.3f %7.3f %7.1f %7.1f %7.2f\n",
            run, p0, g0, at, there, best, proxy, gold, kl, tokens, unique }
    ' "$file"
done
