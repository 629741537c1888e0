#!/bin/bash
# How fast Keel answers: `--help`, a bad config, and the first training step.
#
#   bench/startup.sh KEEL [CONFIG] [RUNS]
#
# KEEL    the executable, e.g. .build/release/keel
# CONFIG  a training config (the demo's); without it the last measurements are left out
# RUNS    how often each is measured (20; the training start: a quarter of it)
#
# Prints minimum and median in milliseconds beside the budget, and ends with 1 if a minimum is over it. The minimum is
# what the program costs; the median shows how busy the machine was. The first step begins when its span in the profile
# does; it has ended when metrics.jsonl has a line. FIRST (300 ms) and ENDS (1000 ms) in the environment: their budgets.
set -u
if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: bench/startup.sh KEEL [CONFIG] [RUNS]" >&2
    exit 64
fi
keel=$1 config=${2:-} runs=${3:-20}
scratch=$(mktemp -d) || exit 73
trap 'rm -rf "$scratch"' EXIT
failed=0

now() { # microseconds
    local t=${EPOCHREALTIME/[.,]/}
    echo "$t"
}

# report NAME BUDGET_MS: reads microseconds, one a line
report() {
    local sorted min median n
    sorted=$(sort -n)
    n=$(echo "$sorted" | wc -l)
    min=$(echo "$sorted" | head -n 1)
    median=$(echo "$sorted" | sed -n "$(((n + 1) / 2))p")
    local verdict=ok
    if [ "$min" -gt $(($2 * 1000)) ]; then
        verdict=OVER
        failed=1
    fi
    printf '%-28s min %7d.%d ms   median %7d.%d ms   budget %5d ms   %s\n' "$1" \
        $((min / 1000)) $((min % 1000 / 100)) $((median / 1000)) $((median % 1000 / 100)) "$2" "$verdict"
}

# times N COMMAND...: the duration of each of N runs, in microseconds; the exit code of the last one in $scratch/code
times() {
    local n=$1 start
    shift
    for _ in $(seq "$n"); do
        start=$(now)
        "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
        echo $? >"$scratch/code"
        echo $(($(now) - start))
    done
}

expect() { # expect "CODE..." WHAT: the exit codes that the last measured command may have had
    local code
    code=$(cat "$scratch/code")
    if [[ " $1 " != *" $code "* ]]; then
        echo "$2 ended with exit code $code, not $1:" >&2
        head -n 5 "$scratch/err" >&2
        failed=1
        return 1
    fi
}

times "$runs" true >"$scratch/us"
report "(starting a process: true)" 1000 <"$scratch/us"

times "$runs" "$keel" --help >"$scratch/us"
expect 0 "keel --help"
report "keel --help" 20 <"$scratch/us"

cat >"$scratch/bad.json" <<'JSON'
{
  "model": { "path": "nowhere", "dtype": "f23" },
  "data": { "train": "absent.jsonl" },
  "objective": { "plugin": "dpo" },
  "train": { "learning_rat": 0.1, "max_steps": "ten" },
  "output_dir": "run"
}
JSON
times "$runs" "$keel" train "$scratch/bad.json" >"$scratch/us"
expect "66 78" "keel train with a bad config"
report "keel train, a bad config" 50 <"$scratch/us"

if [ -n "$config" ]; then
    mkfifo "$scratch/never" && exec 9<>"$scratch/never"
    # The first run, which is not counted, remembers the tokens of the rows.
    for i in $(seq 0 $(((runs + 3) / 4))); do
        run=$scratch/run$i
        start=$(now)
        "$keel" train "$config" --output-dir "$run" --set train.max_steps=1 --set train.logging_steps=1 \
            --profile "$run.trace" --resume never >"$scratch/out" 2>"$scratch/err" </dev/null &
        pid=$!
        until [ -s "$run/metrics.jsonl" ] || ! kill -0 "$pid" 2>/dev/null; do
            read -r -t 0.002 -u 9 # a sleep that starts no process
        done
        ended=$(($(now) - start))
        wait "$pid"
        echo $? >"$scratch/code"
        expect 0 "keel train $config" || break
        if [ "$i" != 0 ]; then
            echo $ended >>"$scratch/ended"
            # The trace counts from when its file was made.
            echo "$(stat -c %.6W "$run.trace") $start" | awk -v trace="$run.trace" '{
                while ((getline line <trace) > 0)
                    if (match(line, /"step 1".*"ts":[0-9]+/)) { sub(/.*"ts":/, "", line); ts = line + 0 }
                printf "%d\n", $1 * 1e6 - $2 + ts }' >>"$scratch/first"
        fi
        rm -rf "$run"
    done
    if [ "$(cat "$scratch/code")" = 0 ]; then
        report "keel train, first step begins" "${FIRST:-300}" <"$scratch/first"
        report "keel train, first step ended" "${ENDS:-1000}" <"$scratch/ended"
    fi
fi
exit $failed
