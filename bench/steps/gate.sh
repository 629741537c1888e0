#!/bin/bash
# Whether a small step of each job still takes as many instructions as it did: no timer, so nothing else matters.
#
#   bench/steps/gate.sh KEEL-BENCH-STEPS [record]
#
# Counts with valgrind (callgrind), which knows AVX2 but not AVX-512: the AVX2 kernels and oneDNN's AVX2 code are what
# is guarded. Valgrind shows the program a processor of its own (caches, instruction sets), so the machine does not
# matter. The price of a step is the difference of runs of two steps and of one. More than 5 % above
# bench/steps/instructions.txt fails; `record` writes that file (from the build that CI makes: .build-test). A number
# well below asks to be recorded, too.
set -eu
if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: bench/steps/gate.sh KEEL-BENCH-STEPS [record]" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
recorded=$here/instructions.txt
if ! grep -qw avx2 /proc/cpuinfo; then
    echo "not checked: the recorded instructions are those of x86-64 with AVX2"
    exit 0
fi
export scratch
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Debug information of Swift is too much for valgrind.
strip -g -o "$scratch/steps" "$1"
export KEEL_ISA=avx2 DNNL_MAX_CPU_ISA=AVX2 SWIFT_DETERMINISTIC_HASHING=1 OMP_NUM_THREADS=1

count() { # count JOB STEPS: leaves the instructions of a whole run in JOB.STEPS
    local log=$scratch/$1.$2.log
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$scratch/steps" "$1" "$2" >"$log" 2>&1 || true
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p' "$log" >"$scratch/$1.$2"
}
export -f count

jobs="dpo sft grpo ppo decode"
for job in $jobs; do printf '%s 1\n%s 2\n' $job $job; done |
    xargs -P "$(nproc)" -L 1 bash -c 'count "$@"' count

code=0
for job in $jobs; do
    one=$(cat "$scratch/$job.1") two=$(cat "$scratch/$job.2")
    if [ -z "$one" ] || [ -z "$two" ]; then
        echo "$job: valgrind counted nothing" >&2
        tail -n 5 "$scratch/$job.1.log" "$scratch/$job.2.log" >&2
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
        awk -v c="$change" 'BEGIN { exit !(c > 5) }' && verdict="TOO MANY" code=1
        awk -v c="$change" 'BEGIN { exit !(c < -5) }' && verdict="fewer: record them"
        printf '%-8s recorded %12d, measured %12d instructions a step, %s %%  %s\n' \
            $job "$before" $now "$change" "$verdict"
    fi
done
if [ $code != 0 ]; then
    echo "more than 5 % above bench/steps/instructions.txt: make the step cheaper, or record it and say why in the commit:" >&2
    echo "  bench/steps/gate.sh $1 record" >&2
fi
[ "${2:-}" != record ] || cp "$scratch/now" "$recorded"
exit $code
