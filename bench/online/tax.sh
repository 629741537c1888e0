#!/bin/sh
# The alignment tax: what PPO on a reward costs in likelihood of the text the model was pre-trained on, and what
# mixing such text in (PPO-ptx) gets back.
#
#   bench/online/tax.sh KEEL OUT "SEEDS" [SETTING...]
#
# The last 500 texts of samples/data/pretrain.jsonl are held out of the mixed-in text (the start model has seen them);
# perplexity is over all their tokens. The runs are samples/ppo-custom-reward-c, as they are and with train.ptx_coef 0.5.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
samples=$here/../../samples
keel=$1 out=$2
seeds=${3:-1}
[ $# -le 3 ] && set -- || shift 3
settings=""
for setting in "$@"; do settings="$settings --set $setting"; done

"$samples/build-rewards.sh" "$keel" >/dev/null
mkdir -p "$out"
out=$(cd "$out" && pwd)
head -n 3500 "$samples/data/pretrain.jsonl" >"$out/ptx.jsonl"
tail -n 500 "$samples/data/pretrain.jsonl" >"$out/held-out.jsonl"
printf '{"model": {"path": "."}, "reference": "none", "objective": {"plugin": "sft", "reduction": "token_mean"},
"data": {"train": "held-out.jsonl", "valid": "held-out.jsonl"}, "train": {"max_steps": 1, "learning_rate": 0,
"per_device_train_batch_size": 1, "per_device_eval_batch_size": 500, "save_steps": 0}, "output_dir": "measure"}' >"$out/measure.json"

value() { grep -o "\"$1\": *[0-9.e+-]*" "$2" | tail -1 | sed 's/.*: *//'; }
line() { # name, model, metrics of the run
    # A step of learning rate 0: the evaluation after it is of the model as it was.
    "$keel" train "$out/measure.json" --overwrite --set "model.path=$2" --set train.threads=1 >/dev/null 2>&1
    awk -v name="$1" -v loss="$(value eval_loss "$out/measure/metrics.jsonl")" -v reward="${3:+$(value eval_reward "$3")}" \
        'BEGIN { printf "%-14s perplexity %7.3f   held-out reward %s\n", name, exp(loss), reward == "" ? "-" : reward }'
}
line start "$samples/model" ""
for seed in $seeds; do
    for kind in plain ptx; do
        run=$out/$kind-$seed
        more=""
        [ $kind = ptx ] && more="--set data.ptx=$out/ptx.jsonl --set train.ptx_coef=0.5 --set train.ptx_batch_size=16"
        # shellcheck disable=SC2086
        [ -f "$run/model.safetensors" ] || "$keel" train "$samples/ppo-custom-reward-c/config.json" --overwrite \
            --output-dir "$run" --set train.seed="$seed" $settings $more >"$run.log" 2>&1 || { tail -5 "$run.log"; exit 1; }
        line "$kind-$seed" "$run" "$run/metrics.jsonl"
    done
done
