#!/bin/bash
# The same job, the same model folder, the same rows: a run of the peer, a run of Keel, and so on, and the ratio of each pair.
#
#   bench/peers/compare.sh KEEL MODELS ROWS.jsonl PYTHON JOB [PAIRS]
#
# JOB     dpo-bf16 dpo-f32 dpo-cached-bf16 dpo-cached-f32 sft-bf16 sft-f32 grpo-bf16: as in bench/run.sh, beside TRL;
#         decode1-llama.cpp decode1-transformers decode32-transformers: prompts are the first rows', in bf16
# PYTHON  an interpreter with torch, transformers, trl, datasets and accelerate; for llama.cpp with xllamacpp
# PAIRS   pairs of runs (3); MODEL (m135) and THREADS (2) come from the environment
#
# A training step's CPU seconds are user + system of all threads, the first step of a run left out: it makes memory and
# kernels. Decoding counts the tokens of a CPU second, prompts left out. On a machine that others use, these alone mean
# something; the alternation takes slow drifts out of the ratio. llama.cpp reads MODELS/MODEL-bf16.gguf (`keel model export`).
set -eu
if [ $# -lt 5 ]; then
    sed -n '2,15p' "$0" >&2
    exit 64
fi
keel=$1 models=$2 rows=$3 python=$4 job=$5 pairs=${6:-3}
here=$(cd "$(dirname "$0")" && pwd)
model=${MODEL:-m135} threads=${THREADS:-2}
prefix=""
[ "$model" = m135 ] || prefix="$model-"
# torch without these: twice to three times the CPU time (spinning threads, memory given back and asked for again).
export GOMP_SPINCOUNT=0 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=17179869184
for library in /usr/lib/*/libtcmalloc_minimal.so.4; do
    [ -f "$library" ] && preload=$library
done

# field WORD [BACK]: what stands one place, or BACK places, in front of a word
field() { awk -v word="$1" -v back="${2:-1}" '{ for (i = back + 1; i <= NF; i++) if ($i == word) { print $(i - back); exit } }'; }

train() {
    local kind=${job%%-*} dtype=${job##*-} steps=$(($(wc -l <"$rows") / 8)) more="" peer own
    case $job in
    *cached*) more="--precompute" ;;
    esac
    # TRL's GRPO is fastest with weights in bf16; the other jobs keep f32 weights and AdamW, as Keel does.
    [ "$kind" != grpo ] || { dtype=bf16-pure steps=3; }
    # shellcheck disable=SC2086
    peer=$(LD_PRELOAD=${preload:-} "$python" "$here/trl_job.py" --job "$kind" --model "$models/$model" --data "$rows" \
        --steps "$steps" --dtype "$dtype" --threads "$threads" $more 2>/dev/null | tail -n 1 |
        "$python" -c 'import json, sys
r = json.load(sys.stdin)
s = r["steps"][1:] or r["steps"]
print("%.2f CPU s %.2f s wall %d MiB" % (sum(x["cpu"] for x in s) / len(s), sum(x["wall"] for x in s) / len(s), r["peak_mib"]))')
    own=$("$here/../run.sh" "$keel" "$models" "$rows" "$prefix$job")
    echo "TRL $peer | Keel $own | wall $(ratio "$(field wall 2 <<<"$peer")" "$(field wall 2 <<<"$own")")," \
        "CPU $(ratio "$(field CPU <<<"$peer")" "$(field CPU <<<"$own")")"
}

decode() {
    local engine=${job#*-} batch=${job%%-*} file=$models/$model peer own
    batch=${batch#decode}
    [ "$engine" != llama.cpp ] || file=$models/$model-bf16.gguf
    peer=$("$python" "$here/decode.py" --engine "$engine" --model "$file" --prompts "$rows" --batch "$batch" \
        --threads "$threads" --rounds 1 2>/dev/null |
        "$python" -c 'import json, sys; print("%.1f" % json.loads(sys.stdin.readlines()[-1])["rounds"][0]["tok_per_cpu_s"])')
    own=$("$here/../run.sh" "$keel" "$models" "$rows" "${prefix}decode$batch" | field tok/CPU)
    echo "$engine $peer tok/CPU s | Keel $own tok/CPU s | CPU $(ratio "$own" "$peer")"
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }

for pair in $(seq "$pairs"); do
    case $job in
    decode*) echo "pair $pair: $(decode)" ;;
    *) echo "pair $pair: $(train)" ;;
    esac
done | awk -v job="$job" '
    { print; fflush(); ratio[NR] = $NF }
    END {
        for (i = 1; i <= NR; i++) for (k = i + 1; k <= NR; k++) if (ratio[k] < ratio[i]) {
            t = ratio[i]; ratio[i] = ratio[k]; ratio[k] = t
        }
        printf "%s: median ratio of CPU seconds %.2f (%.2f to %.2f)\n", job, ratio[int((NR + 1) / 2)], ratio[1], ratio[NR]
    }'
