# The comparison as a Markdown table, from lines `METHOD SEED KEY VALUE`. Variable: methods, in the order of the rows.
{
    value[$1, $2, $3] = $4
    if (!(($1, $2) in known)) {
        known[$1, $2] = 1
        seeds[$1] = seeds[$1] " " $2
    }
}

# Mean over the seeds.
function mean(method, key,  list, count, i, sum) {
    count = split(seeds[method], list, " ")
    for (i = 1; i <= count; i++) sum += value[method, list[i], key]
    return count ? sum / count : 0
}

# Standard deviation over the seeds.
function deviation(method, key,  list, count, i, sum, middle) {
    count = split(seeds[method], list, " ")
    if (count < 2) return 0
    middle = mean(method, key)
    for (i = 1; i <= count; i++) sum += (value[method, list[i], key] - middle) ^ 2
    return sqrt(sum / (count - 1))
}

function interval(method, key, list) {
    return sprintf("%.3f [%.3f, %.3f] ± %.3f", mean(method, key), mean(method, list ".0"), mean(method, list ".1"), deviation(method, key))
}

function row(method, label, side) {
    printf "| %s | %s | %s | %.3f / %.3f / %.3f | %.1f | %s | %s | %s |\n", label, \
        interval(method, side ".reward", side ".reward_interval_95"), \
        side == "against" ? "" : interval(method, "win_rate", "win_rate_interval_95"), \
        mean(method, side ".distinct_1_corpus"), mean(method, side ".distinct_2_corpus"), mean(method, side ".distinct_3_corpus"), \
        mean(method, side ".length_tokens"), side == "against" ? "" : sprintf("%.2f", mean(method, "kl")), \
        side == "against" ? "" : sprintf("%.0f", mean(method, "tokens") / 1000), \
        side == "against" ? "" : sprintf("%.0f", mean(method, "cpu"))
}

END {
    count = split(methods, list, " ")
    print "| method | reward | wins against the start | distinct-1 / 2 / 3 | length | KL | tokens, thousands | CPU seconds |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- |"
    row(list[1], "start", "against")
    for (i = 1; i <= count; i++) if (list[i] in seeds) row(list[i], list[i], "model")
    print ""
    print "Mean over the seeds [95 % bootstrap interval over " mean(list[1], "rows") " prompts, averaged over the seeds] ± standard deviation over the seeds."
    print "A tie is half a win. distinct-n: distinct n-grams over all n-grams. KL: nats per answer, to the start. Tokens: trained on."
}
