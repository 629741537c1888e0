# One line per run: the reward of the first and the last log line, the held-out reward at the end, KL and length.
function value(name,   at) {
    if (!match($0, "\"" name "\": *-?[0-9.e+-]+")) return "-"
    at = substr($0, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", at)
    return at
}
BEGIN { printf "%-16s %8s %8s %10s %8s %8s\n", "run", "first", "last", "held out", "kl", "length" }
FNR == 1 { if (run) show(); run = FILENAME; sub(/\/metrics.jsonl$/, "", run); sub(/.*\//, "", run); first = last = held = kl = length_ = "-" }
value("reward") != "-" {
    if (first == "-") first = value("reward")
    last = value("reward")
    if (value("objective/kl") != "-") kl = value("objective/kl")
    length_ = value("res_len")
}
value("eval_reward") != "-" { held = value("eval_reward") }
function show() { printf "%-16s %8.3f %8.3f %10.3f %8.2f %8.1f\n", run, first, last, held, kl, length_ }
END { show() }
