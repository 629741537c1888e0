#!/bin/bash
# Whether a small step of each job still takes as many instructions as it did: no timer, so nothing else matters.
#
#   bench/steps/gate.sh KEEL-BENCH-STEPS [record]
#
# Counts with valgrind (callgrind), which knows AVX2 but not AVX-512: the AVX2 kernels and oneDNN's AVX2 code are what
# is guarded. The price of a step is the difference of runs of two steps and of one. More than 5 % above
# bench/steps/instructions.txt fails; `record` writes that file. A number well below asks to be recorded, too.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
recorded=$here/instructions.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Debug information of Swift is too much for valgrind.
strip -g -o "$scratch/steps" "$1"
export KEEL_ISA=avx2 DNNL_MAX_CPU_ISA=AVX2 SWIFT_DETERMINISTIC_HASHING=1 OMP_NUM_THREADS=1

count() { # count JOB STEPS: instructions of a whole run
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$scratch/steps" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p'
}

code=0
for job in dpo sft grpo ppo decode; do
    one=$(count $job 1)
    two=$(count $job 2)
    if [ -z "$one" ] || [ -z "$two" ]; then
        echo "$job: valgrind counted nothing" >&2
        exit 1
    fi
    now=$((two - one))
    echo "$job $now" >>"$scratch/now"
    before=$(awk -v job=$job '$1 == job { print $2 }' "$recorded" 2>/dev/null || true)
    if [ "${2:-}" = record ]; then
        printf '%-8s %12d instructions a step\n' $job $now
    elif [ -z "$before" ]; then
        echo "$job: $now instructions a step, none recorded" >&2
        code=1
    else
        change=$(awk -v a="$now" -v b="$before" 'BEGIN { printf "%+.2f", 100 * (a - b) / b }')
        verdict=ok
        awk -v c="$change" 'BEGIN { exit !(c > 5) }' && verdict="MORE THAN 5 %: make it cheaper, or record it with a reason" code=1
        awk -v c="$change" 'BEGIN { exit !(c < -5) }' && verdict="less: record it"
        printf '%-8s %12d instructions a step, %s %%  %s\n' $job $now "$change" "$verdict"
    fi
done
[ "${2:-}" != record ] || cp "$scratch/now" "$recorded"
exit $code
