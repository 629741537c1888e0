# What the first stage learns: an answer's score and, 2.5 times, what its length alone says of people's choice.
#
#   awk -f targets.awk TRAIN TRAIN > OUT; awk -f targets.awk TRAIN VALID > OUT
#
# Within a source (harmless-base, helpful-base, ...) P(chosen) = sigmoid(w (log length of the chosen - log length of the rejected)), w fitted to TRAIN by
# Newton's steps with a prior of variance 1/3; the target is score + 2.5 w (log length - its mean in TRAIN). Lengths are bytes as they stand in the file.

function number(key) {
    return match($0, "\"" key "\":-?[0-9.eE+-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0
}
function text(key) {
    return match($0, "\"" key "\":\"([^\"\\\\]|\\\\.)*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : ""
}
function size(key) { return log(length(text(key))) }
function fit(i, step, p, slope, curve, s) {
    for (step = 0; step < 30; step++) {
        for (s in count) { slope[s] = -3 * weight[s]; curve[s] = 3 }
        for (i = 1; i <= rows; i++) {
            s = source[i]
            p = 1 / (1 + exp(-weight[s] * difference[i]))
            slope[s] += (1 - p) * difference[i]
            curve[s] += p * (1 - p) * difference[i] ^ 2
        }
        for (s in count) weight[s] += slope[s] / curve[s]
    }
    for (s in count) printf "%s: w %.4f, mean %.4f of %d pairs\n", s, weight[s], sum[s] / count[s] / 2, count[s] > "/dev/stderr"
}
NR == FNR {
    source[++rows] = text("source")
    difference[rows] = size("chosen") - size("rejected")
    sum[source[rows]] += size("chosen") + size("rejected")
    count[source[rows]]++
    next
}
FNR == 1 { fit() }
{
    name = text("source")
    mean = sum[name] / count[name] / 2
    for (i = 1; i <= 2; i++) {
        side = i == 1 ? "chosen" : "rejected"
        value = number(side "_score") + 2.5 * weight[name] * (size(side) - mean)
        sub("\"" side "_score\":-?[0-9.eE+-]+", "\"" side "_score\":" sprintf("%.9f", value))
    }
    print
}
