#!/bin/sh
# The charts of docs/results.md from the folders that the other scripts have filled.
#
#   bench/online/plot.sh KEEL RUNS SVG [COLLAPSE COLLAPSE_SVG]
set -eu
keel=$1 runs=$2 svg=$3
set -- "$keel" "${4:-}" "${5:-}"
collapse=$2 collapse_svg=$3
line() { # runs of one kind, one label each
    for run in "$1"/$2-[0-9]*; do [ -f "$run/metrics.jsonl" ] && printf '%s\n' "$run" --label "$2"; done
}
set --
for kind in ppo ppo_max grpo rloo reinforce online_dpo; do
    # shellcheck disable=SC2046
    set -- "$@" $(line "$runs" $kind)
done
"$keel" report "$@" --group --metric reward --metric objective/kl --metric res_len \
    --line 'reward=0.937:90 % of the gain of best-of-64' --title 'concise, from the start model' --size 380x260 --svg "$svg"
[ -n "$collapse" ] || exit 0
set --
for kind in no_kl ppo ppo_max; do
    # shellcheck disable=SC2046
    set -- "$@" $(line "$collapse" $kind)
done
"$keel" report "$@" --group --metric rewards/proxy/mean --metric rewards/gold/mean --metric ref_kl \
    --title 'proxy (a learned reward model) and gold (the rule)' --size 380x260 --svg "$collapse_svg"
