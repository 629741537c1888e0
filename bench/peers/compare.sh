#!/bin/bash
# The same training job, the same model folder, the same rows: a run of the peer, a run of Keel, and so on; then the ratios.
#
#   bench/peers/compare.sh KEEL MODELS ROWS.jsonl PYTHON JOB [PAIRS]
#
# JOB     dpo-bf16 dpo-f32 dpo-cached-bf16 dpo-cached-f32 sft-bf16 sft-f32 grpo-bf16: as in bench/run.sh
# PYTHON  an interpreter with torch, transformers, trl, datasets and accelerate
# PAIRS   pairs of runs (3); MODEL (m135) and THREADS (2) come from the environment
#
# A step's CPU seconds are user + system of all threads, the first step of a run left out: it makes memory and kernels.
# On a machine that others use, these alone mean something; the alternation takes slow drifts out of the ratio.
set -eu
if [ $# -lt 5 ]; then
    sed -n '2,11p' "$0" >&2
    exit 64
fi
keel=$1 models=$2 rows=$3 python=$4 job=$5 pairs=${6:-3}
here=$(cd "$(dirname "$0")" && pwd)
model=${MODEL:-m135}
steps=$(($(wc -l <"$rows") / 8))
kind=${job%%-*} dtype=${job##*-}
more=""
case $job in
*cached*) more="--precompute" ;;
esac
# TRL's GRPO is fastest with weights in bf16; the other jobs keep f32 weights and AdamW, as Keel does.
[ "$kind" != grpo ] || { dtype=bf16-pure steps=3; }
# torch without these: twice to three times the CPU time (spinning threads, memory given back and asked for again).
export GOMP_SPINCOUNT=0 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=17179869184
for library in /usr/lib/*/libtcmalloc_minimal.so.4; do
    [ -f "$library" ] && preload=$library
done
prefix=""
[ "$model" = m135 ] || prefix="$model-"
for pair in $(seq "$pairs"); do
    # shellcheck disable=SC2086
    peer=$(LD_PRELOAD=${preload:-} "$python" "$here/trl_job.py" --job "$kind" --model "$models/$model" --data "$rows" \
        --steps "$steps" --dtype "$dtype" --threads "${THREADS:-2}" $more 2>/dev/null | tail -n 1 |
        "$python" -c 'import json, sys
r = json.load(sys.stdin)
s = r["steps"][1:] or r["steps"]
print(sum(x["cpu"] for x in s) / len(s), sum(x["wall"] for x in s) / len(s), r["peak_mib"])')
    own=$("$here/../run.sh" "$keel" "$models" "$rows" "$prefix$job")
    echo "pair $pair: TRL $peer | Keel $own"
done | awk -v job="$job" '
    { print }
    {
        for (i = 1; i <= NF; i++) if ($i == "|") at = i
        for (i = at; i <= NF; i++) if ($i == "CPU" && !cpu[NR]) { cpu[NR] = $(i - 1) }
        ratio[NR] = $4 / cpu[NR]
        printf "  ratio %.2f\n", ratio[NR]
    }
    END {
        for (i = 1; i <= NR; i++) for (k = i + 1; k <= NR; k++) if (ratio[k] < ratio[i]) {
            t = ratio[i]; ratio[i] = ratio[k]; ratio[k] = t
        }
        printf "%s: median ratio of CPU seconds %.2f (%.2f to %.2f)\n", job, ratio[int((NR + 1) / 2)], ratio[1], ratio[NR]
    }'
