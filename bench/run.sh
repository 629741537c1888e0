#!/bin/bash
# Times Keel on the jobs of docs/speed.md and prints, for each, what a step costs and where it goes.
#
#   bench/run.sh KEEL MODELS ROWS.jsonl [JOB...]
#
# KEEL    the executable, its plugins and keel-worker beside it
# MODELS  what bench/models.sh made
# ROWS    what bench/rows.sh made; every job takes the same rows in the same order, eight a step
# JOB     dpo-bf16 dpo-f32 dpo-cached-bf16 dpo-cached-f32 sft-bf16 sft-f32 grpo-bf16 ppo-bf16 decode1 decode32, each also
#         with small- in front; without any, all of m135 and of small
#
# THREADS (2), STEPS (the batches in ROWS, but the first warms up) and OUT (a scratch folder) come from the environment.
# One line a job: CPU seconds and wall seconds of a step, tokens and useful GFLOP per CPU second, peak MiB, then the shares.
set -u
if [ $# -lt 3 ]; then
    sed -n '2,13p' "$0" >&2
    exit 64
fi
keel=$(realpath "$1") models=$(realpath "$2") rows=$(realpath "$3")
shift 3
threads=${THREADS:-2}
steps=${STEPS:-$(($(wc -l <"$rows") / 8))}
out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
all="dpo-bf16 dpo-f32 dpo-cached-bf16 sft-bf16 sft-f32 grpo-bf16 ppo-bf16 decode1 decode32"
[ $# -gt 0 ] || set -- $all small-dpo-bf16 small-dpo-f32 small-sft-bf16 small-grpo-bf16 small-decode1 small-decode32
failed=0

# train NAME MODEL DTYPE MORE-JSON STEPS: runs, leaves the profile's table in NAME.log
train() {
    local name=$1 model=$2 dtype=$3 more=$4 count=$5
    cat >"$out/$name.json" <<JSON
{"model": {"path": "$models/$model", "dtype": "$dtype"}, "order": {"plugin": "sequential"},
 $more
 "output_dir": "$out/$name"}
JSON
    rm -rf "$out/$name"
    "$keel" train "$out/$name.json" --set train.max_steps="$count" --set train.threads="$threads" \
        --profile "$out/$name.trace" >"$out/$name.out" 2>"$out/$name.log" &
    local pid=$! peak=0 key value
    # The high-water mark of the process, as long as it is there to be asked; the shell itself reads it, to take no time away.
    while kill -0 $pid 2>/dev/null; do
        while read -r key value _; do
            [ "$key" != VmHWM: ] || peak=$value
        done 2>/dev/null <"/proc/$pid/status"
        sleep 0.5
    done
    if ! wait $pid; then
        tail -n 5 "$out/$name.log" >&2
        failed=1
        return
    fi
    rm -rf "${out:?}/$name"
    awk -v name="$name" -v peak=$((peak / 1024)) '
        /^profile:/ { for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+$/ && $(i + 1) == "tokens") tokens = $i }
        tokens && $3 == "%" && $1 != "all" { shares = shares sprintf(" %s %.0f%%", $1, $2); }
        $1 == "all" && tokens {
            printf "%-22s %8.2f CPU s %7.2f s wall %7.0f tok/CPU s %5.0f GFLOP/CPU s %6d MiB  ", name, $4 / 1e3, $5 / 1e3,
                tokens, $6, peak
            print shares
        }' "$out/$name.log"
}

# decode NAME MODEL BATCH: tokens per CPU second of the steps that only continue texts, after the prompts are read
decode() {
    local name=$1 model=$2 batch=$3
    head -n "$batch" "$rows" >"$out/$name.jsonl"
    if ! "$keel" generate --model "$models/$model" --prompts "$out/$name.jsonl" --ignore-eos --dtype "${dtype:-bf16}" \
        --threads "$threads" --seed 1 --batch-size "$batch" --max-new-tokens 73 -v >/dev/null 2>"$out/$name.log"; then
        tail -n 5 "$out/$name.log" >&2
        failed=1
        return
    fi
    awk -v name="$name" '
        { for (i = 2; i <= NF; i++) { if ($i ~ /^tokens\/s/) wall = $(i - 1); if ($i == "tokens/CPU") cpu = $(i - 1) } }
        END { printf "%-22s %8.1f tok/CPU s %8.1f tok/s wall\n", name, cpu, wall }' "$out/$name.log"
}

objective() { # objective NAME PARAMS
    echo "\"objective\": {\"plugin\": \"$1\", \"params\": $2}, \"data\": {\"train\": \"$rows\", \"max_length\": 512},
 \"train\": {\"per_device_train_batch_size\": 8, \"learning_rate\": 1e-6, \"save_steps\": 0, \"logging_steps\": 1},"
}
online() { # online NAME PARAMS MORE
    echo "\"objective\": {\"plugin\": \"$1\", \"params\": $2}, \"data\": {\"train\": \"$rows\", \"max_completion_length\": 64,
 \"max_prompt_length\": 448}, \"rewards\": [{\"plugin\": \"length\"}], \"sampler\": {\"min_new_tokens\": 63},
 \"train\": {\"per_device_train_batch_size\": 32, \"num_generations\": $3, \"learning_rate\": 1e-6, \"save_steps\": 0,
 \"logging_steps\": 1},"
}

for job; do
    model=m135 kind=$job
    case $job in small-*) model=small kind=${job#small-} ;; esac
    dtype=${kind##*-}
    case $kind in
    dpo-cached-*)
        # A second pass over the same rows finds every reference log-prob remembered.
        train "$job" $model "$dtype" "\"reference\": \"initial\", $(objective dpo '{"beta": 0.1}')" $((2 * steps)) >/dev/null
        train "$job" $model "$dtype" "\"reference\": \"initial\", $(objective dpo '{"beta": 0.1}')" "$steps"
        ;;
    dpo-*) train "$job" $model "$dtype" "\"reference\": {\"path\": \"$models/$model\", \"cache\": \"off\"},
 $(objective dpo '{"beta": 0.1}')" "$steps" ;;
    sft-*) train "$job" $model "$dtype" "\"reference\": \"none\", $(objective sft '{}')" "$steps" ;;
    grpo-*) train "$job" $model "$dtype" "\"reference\": \"none\", $(online grpo '{"kl_coef": 0}' 4)" 3 ;;
    ppo-*) train "$job" $model "$dtype" "\"reference\": \"initial\", $(online ppo '{}' 1)" 3 ;;
    decode1) dtype=bf16 decode "$job" $model 1 ;;
    decode32) dtype=bf16 decode "$job" $model 32 ;;
    decode1-f32) dtype=f32 decode "$job" $model 1 ;;
    decode32-f32) dtype=f32 decode "$job" $model 32 ;;
    *)
        echo "no job $job" >&2
        failed=1
        ;;
    esac
done
exit $failed
