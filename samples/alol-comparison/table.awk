# The comparison as a Markdown table, from lines `METHOD SEED KEY VALUE`; `csv` gets a line for each run. Variables: methods, in the order of
# the rows; csv, a file.
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

# A run as a line of the CSV file.
function line(method, seed, side,  cells) {
    cells = side == "against" ? "start" : method
    cells = cells "," value[method, seed, side ".reward"] "," value[method, seed, side ".reward_interval_95.0"] "," \
        value[method, seed, side ".reward_interval_95.1"]
    if (side == "against") cells = cells ",,,"
    else cells = cells "," value[method, seed, "win_rate"] "," value[method, seed, "win_rate_interval_95.0"] "," value[method, seed, "win_rate_interval_95.1"]
    cells = cells "," value[method, seed, side ".distinct_1_corpus"] "," value[method, seed, side ".distinct_2_corpus"] "," \
        value[method, seed, side ".distinct_3_corpus"] "," value[method, seed, side ".length_tokens"]
    print cells "," (side == "against" ? "" : value[method, seed, "kl"]) > csv
}

END {
    count = split(methods, list, " ")
    print "method,reward,reward_low,reward_high,win_rate,win_rate_low,win_rate_high,distinct_1,distinct_2,distinct_3,length,kl" > csv
    line(list[1], substr(seeds[list[1]], 2, index(substr(seeds[list[1]], 2) " ", " ") - 1), "against")
    for (i = 1; i <= count; i++) {
        runs = split(seeds[list[i]], own, " ")
        for (j = 1; j <= runs; j++) line(list[i], own[j], "model")
    }
    print "| method | reward | wins against the start | distinct-1 / 2 / 3 | length | KL | tokens, thousands | CPU seconds |"
    print "| --- | --- | --- | --- | --- | --- | --- | --- |"
    row(list[1], "start", "against")
    for (i = 1; i <= count; i++) if (list[i] in seeds) row(list[i], list[i], "model")
    print ""
    print "Mean over the seeds [95 % bootstrap interval over " mean(list[1], "rows") " prompts, averaged over the seeds] ± standard deviation over the seeds."
    print "A tie is half a win. distinct-n: distinct n-grams over all n-grams. KL: nats per answer, to the start. Tokens: trained on."
}
