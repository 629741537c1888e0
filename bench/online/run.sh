#!/bin/sh
# The learning runs of docs/results.md: one task whose optimum is known, six objectives, three seeds.
#
#   bench/online/run.sh KEEL OUT "OBJECTIVES" "SEEDS" [SETTING...]
#
# ppo and ppo_max are the samples' runs as they stand, the others config.json with one changed line. One folder
# OUT/OBJECTIVE-SEED each; what is there already is not made again. A SETTING (train.threads=1) goes to every run.
# Ends with the table.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../../samples
keel=$1 out=$2
objectives=${3:-ppo ppo_max grpo rloo reinforce online_dpo}
seeds=${4:-1 2 3}
[ $# -le 4 ] && set -- || shift 4
settings=""
for setting in "$@"; do settings="$settings --set $setting"; done

"$samples/build-rewards.sh" "$keel" >/dev/null
mkdir -p "$out"
for objective in $objectives; do
    line="" config=$here/config.json
    case $objective in
    ppo) config=$samples/ppo-custom-reward-c/config.json ;;
    ppo_max) config=$samples/ppo-max/config.json ;;
    grpo) line='{"plugin": "grpo", "params": {"kl_coef": 0.01}}' ;;
    online_dpo) line='{"plugin": "online_dpo", "params": {"beta": 0.1}}' ;;
    *) line="{\"plugin\": \"$objective\", \"params\": {\"kl_coef\": 0.005}}" ;;
    esac
    for seed in $seeds; do
        run=$out/$objective-$seed
        [ -f "$run/model.safetensors" ] && continue
        # shellcheck disable=SC2086
        bash -c 'TIMEFORMAT="%U %S"; time "$@"' - "$keel" train "$config" --overwrite --output-dir "$run" \
            --set train.seed="$seed" --set train.logging_steps=10 $settings ${line:+--set "objective=$line"} \
            >"$run.log" 2>&1 || { tail -5 "$run.log"; exit 1; }
    done
done
"$here/table.sh" "$out"
