#!/bin/sh
# One line per run of OUT: reward of the first and the last log line, held-out reward at the end, KL and length of
# an answer, CPU seconds (user and system).
#
#   bench/online/table.sh OUT
set -eu
printf '%-16s %8s %8s %10s %8s %8s %8s\n' run first last 'held out' kl length cpu
for file in "$1"/*/metrics.jsonl; do
    run=$(dirname "$file")
    cpu=$(tail -1 "$run.log" 2>/dev/null | awk 'NF == 2 { print $1 + $2 }')
    awk -v run="$(basename "$run")" -v cpu="${cpu:-0}" '
        function value(name,   at) {
            if (!match($0, "\"" name "\": *-?[0-9.e+-]+")) return "-"
            at = substr($0, RSTART, RLENGTH)
            sub(/^"[^"]*": */, "", at)
            return at
        }
        value("reward") != "-" {
            if (first == "") first = value("reward")
            last = value("reward"); tokens = value("res_len")
            if (value("objective/kl") != "-") kl = value("objective/kl")
        }
        value("eval_reward") != "-" { held = value("eval_reward") }
        END { printf "%-16s %8.3f %8.3f %10.3f %8.2f %8.1f %8.0f\n", run, first, last, held, kl, tokens, cpu }
    ' "$file"
done
