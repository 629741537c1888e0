# The table of the demo, from the values that flatten.awk made of each `keel eval`. Variables: methods, out.
function number(name, key, digits) {
    return (name, key) in cell ? sprintf("%." digits "f", cell[name, key]) : "-"
}

function row(name, label, side) {
    printf "%-12s %7s %8s %9s  %-20s %6s %7s %8s %8s\n", label, number(name, side ".reward", 3), \
        number(name, side ".rewards.concise", 3), number(name, side ".rewards.on_topic", 3), \
        side == "against" ? "-" : sprintf("%s [%s, %s]", number(name, "win_rate", 3), \
            number(name, "win_rate_interval_95.0", 3), number(name, "win_rate_interval_95.1", 3)), \
        side == "against" ? "0" : number(name, "kl", 2), number(name, side ".length_tokens", 1), \
        number(name, side ".distinct_1_corpus", 3), number(name, side ".distinct_2_corpus", 3)
}

BEGIN {
    count = split(methods, list, " ")
    for (i = 1; i <= count; i++) {
        file = out "/" list[i] ".values"
        while ((getline line < file) > 0) {
            cut = index(line, " ")
            cell[list[i], substr(line, 1, cut - 1)] = substr(line, cut + 1)
        }
    }
    printf "%-12s %7s %8s %9s  %-20s %6s %7s %8s %8s\n", "model", "reward", "concise", "on_topic", \
        "wins against start", "KL", "tokens", "dist-1", "dist-2"
    row(list[1], "start", "against")
    for (i = 1; i <= count; i++) row(list[i], "after " list[i], "model")
    print "\nreward: mean over " cell[list[1], "rows"] " held-out questions, one answer each at temperature 1"
    print "judge of wins: " cell[list[1], "judge"] "; ties count half; 95 % bootstrap interval over the questions"
    print "KL: nats per answer against the start model; tokens: mean length; dist-n: distinct n-grams over all n-grams"
}
