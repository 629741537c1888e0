# Lines of `keel generate --rewards --keep all --json`, the n answers to a prompt together -> pairs of the best and the worst by some rewards.
# Variables: names and weights of the rewards, n, and scale: the difference that counts as "significantly better". The margin is Llama-2's: 1, 2/3,
# 1/3 or 0 by grade. Ties make no pair.
function text(key) {
    return match($0, "\"" key "\":[ ]*\"([^\"\\\\]|\\\\.)*\"") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : "\"\""
}

function number(key) {
    return match($0, "\"" key "\":[ ]*-?[0-9.eE+-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0
}

BEGIN { count = split(names, name, " "); split(weights, weight, " ") }

{
    # The line's own fields come first; what the rewards say stands at its end.
    whole = $0
    score = 0
    $0 = substr(whole, match(whole, /"rewards":[ ]*\{/))
    for (i = 1; i <= count; i++) score += weight[i] * number(name[i])
    $0 = whole
    if (NR % n == 1 || n == 1) {
        best = worst = score
        good = bad = text("completion")
    } else if (score > best) {
        best = score
        good = text("completion")
    } else if (score < worst) {
        worst = score
        bad = text("completion")
    }
    if (NR % n == 0 && best > worst) {
        grade = (best - worst) / scale
        margin = grade >= 1 ? 1 : grade >= 2 / 3 ? 2 / 3 : grade >= 1 / 3 ? 1 / 3 : 0
        printf "{\"prompt\":%s,\"chosen\":%s,\"rejected\":%s,\"margin\":%.4f}\n", text("prompt"), good, bad, margin
    }
}
