#!/bin/sh
# The learning runs of docs/results.md.
#
#   bench/online/run.sh KEEL OUT "OBJECTIVES" "SEEDS"     default: all six, seeds 1 2 3
#
# One folder OUT/OBJECTIVE-SEED each. Prints the table: held-out reward, KL and length at the end, CPU seconds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
keel=$1
out=$2
objectives=${3:-ppo ppo_max grpo rloo reinforce online_dpo}
seeds=${4:-1 2 3}
mkdir -p "$out"
for objective in $objectives; do
    case $objective in
    ppo) set -- '{"kl_coef": 0.005, "vf_coef": 0.5}' train.per_device_train_batch_size=32 train.rollout_batch_size=64 \
        train.num_iterations=2 train.num_generations=1 train.max_steps=240 ;;
    ppo_max) set -- '{"kl_coef": 0.02, "critic_warmup_steps": 20}' train.per_device_train_batch_size=32 \
        train.rollout_batch_size=128 train.num_generations=1 train.max_steps=240 ;;
    grpo) set -- '{"kl_coef": 0.01}' ;;
    online_dpo) set -- '{"beta": 0.1}' ;;
    *) set -- '{"kl_coef": 0.005}' ;;
    esac
    params=$1
    shift
    for seed in $seeds; do
        run=$out/$objective-$seed
        [ -f "$run/model.safetensors" ] && continue
        more=""
        for setting in "$@"; do more="$more --set $setting"; done
        # shellcheck disable=SC2086
        /usr/bin/env TIMEFORMAT='%U' bash -c 'time "$@"' - "$keel" train "$here/config.json" --overwrite --output-dir "$run" \
            --set "objective={\"plugin\": \"$objective\", \"params\": $params}" --set train.seed=$seed $more \
            >"$run.log" 2>&1 || { tail -5 "$run.log"; exit 1; }
        tail -1 "$run.log" >"$run.cpu"
    done
done
awk -f "$here/table.awk" "$out"/*/metrics.jsonl
