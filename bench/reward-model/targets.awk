# What the first stage learns: how much better or worse people find an answer of its words and its length, in each kind of conversation.
#
#   awk -f targets.awk TRAIN TRAIN > OUT; awk -f targets.awk TRAIN VALID > OUT
#
# A linear model is fitted to the pairs of TRAIN: P(chosen) = sigmoid(v(chosen) - v(rejected)), v the sum of the weights of the words and pairs of
# neighbours that an answer has, and of a weight times the logarithm of its bytes. harmless-base has weights of its own for the words, the helpful
# sources share theirs; the lengths' weights are by source. Priors: variance 1/100 for words, 1/3 for lengths. Then every answer of the second file gets
# a line for its own source and for each other with a twentieth of TRAIN: the prompt with the source in place of its last "Assistant", and as the
# reward v less its source's mean, in standard deviations.

function text(key) {
    return match($0, "\"" key "\":\"([^\"\\\\]|\\\\.)*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : ""
}
function add(feature) {
    if (feature in found) return
    found[feature]
    list[++listed] = feature
}
# list: the words of an answer and its pairs of neighbours, each once.
function features(said, n, i, word) {
    while (listed > 0) delete found[list[listed--]]
    said = tolower(said)
    gsub(/\\[nrt]/, " ", said)
    gsub(/[^a-z0-9'.,!?;:"()-]+/, " ", said)
    gsub(/[.,!?;:"()-]/, " & ", said)
    n = split(said, word, " ")
    for (i = 1; i <= n; i++) {
        add(word[i])
        if (i > 1) add(word[i - 1] " " word[i])
    }
}
function kind(name) { return name == "harmless-base" ? "harmless" : "helpful" }
# Dual coordinate ascent (Yu, Huang and Lin 2011): a weight is its prior's variance times the sum of a pair's share x its difference, and the share of
# each pair in turn becomes the best there is, sigmoid(-margin) with itself in the margin.
function fit(pass, i, k, s, margin, q, old, a, step) {
    for (i = 1; i <= rows; i++) share[i] = 0
    for (pass = 1; pass <= 20; pass++)
        for (i = 1; i <= rows; i++) {
            s = source[i]
            margin = slope[s] * longer[i]
            for (k = first[i]; k < first[i + 1]; k++) margin += sign[k] * weight[item[k]]
            q = (first[i + 1] - first[i]) / 100 + longer[i] ^ 2 / 3
            old = share[i]
            a = pass == 1 ? 0.5 : old
            for (step = 0; step < 5; step++) {
                a -= (margin + q * (a - old) + log(a / (1 - a))) / (q + 1 / (a * (1 - a)))
                a = a < 0.001 ? 0.001 : a > 0.999 ? 0.999 : a
            }
            share[i] = a
            for (k = first[i]; k < first[i + 1]; k++) weight[item[k]] += sign[k] * (a - old) / 100
            slope[s] += longer[i] * (a - old) / 3
        }
}
# Of the answer whose words are in list.
function value(said, name, i, v) {
    v = slope[name] * log(length(said))
    for (i = 1; i <= listed; i++) if ((kind(name), list[i]) in id) v += weight[id[kind(name), list[i]]]
    return v
}
function measure(i, name, side, v, sum, squares, rest) {
    for (i = 1; i <= rows; i++)
        for (side = 1; side <= 2; side++) {
            features(answer[i, side])
            v = value(answer[i, side], source[i])
            sum[source[i]] += v
            squares[source[i]] += v ^ 2
        }
    for (i = 1; i <= names; i++) {
        name = known[i]
        mean[name] = sum[name] / count[name] / 2
        rest += squares[name] - sum[name] * mean[name]
        printf "%s: %d pairs, weight of a length %.4f\n", name, count[name], slope[name] > "/dev/stderr"
    }
    spread = sqrt(rest / rows / 2)
    printf "%d words and neighbours, standard deviation %.4f\n", ids, spread > "/dev/stderr"
}
function note(feature, direction) {
    feature = kind(source[rows]) SUBSEP feature
    if (!(feature in id)) id[feature] = ++ids
    item[++items] = id[feature]
    sign[items] = direction
}
NR == FNR {
    source[++rows] = text("source")
    if (!(count[source[rows]]++)) known[++names] = source[rows]
    answer[rows, 1] = text("chosen")
    answer[rows, 2] = text("rejected")
    longer[rows] = log(length(answer[rows, 1]) / length(answer[rows, 2]))
    # What both have is in no difference.
    first[rows] = items + 1
    for (i in theirs) delete theirs[i]
    features(answer[rows, 2])
    others = listed
    for (i = 1; i <= others; i++) { other[i] = list[i]; theirs[list[i]] }
    features(answer[rows, 1])
    for (i = 1; i <= listed; i++) if (!(list[i] in theirs)) note(list[i], 1)
    for (i = 1; i <= others; i++) if (!(other[i] in found)) note(other[i], -1)
    first[rows + 1] = items + 1
    next
}
FNR == 1 { fit(); measure() }
{
    own = text("source")
    prompt = text("prompt")
    sub(/Assistant:$/, "", prompt)
    for (side = 1; side <= 2; side++) {
        said = text(side == 1 ? "chosen" : "rejected")
        features(said)
        for (i = 1; i <= names; i++) {
            name = known[i]
            if (name == own || count[name] >= rows / 20)
                printf "{\"prompt\":\"%s%s:\",\"completion\":\"%s\",\"reward\":%.6f}\n", prompt, name, said, (value(said, name) - mean[name]) / spread
        }
    }
}
