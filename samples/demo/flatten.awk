# One JSON value -> lines `path value`, as in `model.rewards.concise 0.61`. Numbers, strings and nesting; no escapes
# are undone. For scripts on machines without jq.
{ text = text $0 " " }

function string(  start) {
    start = ++at
    while (at <= size && substr(text, at, 1) != "\"") at += substr(text, at, 1) == "\\" ? 2 : 1
    return substr(text, start, at++ - start)
}

function space() { while (at <= size && index(" \t,:", substr(text, at, 1))) at++ }

function value(path,  sign, start, key, i) {
    space()
    sign = substr(text, at, 1)
    if (sign == "{") {
        for (at++; ; ) {
            space()
            if (at > size || substr(text, at, 1) == "}") { at++; return }
            key = string()
            value(path == "" ? key : path "." key)
        }
    } else if (sign == "[") {
        for (at++; ; i++) {
            space()
            if (at > size || substr(text, at, 1) == "]") { at++; return }
            value(path "." (i + 0))
        }
    } else if (sign == "\"") {
        print path, string()
    } else {
        start = at
        while (at <= size && !index(" \t,:]}", substr(text, at, 1))) at++
        print path, substr(text, start, at - start)
    }
}

END {
    at = 1
    size = length(text)
    value("")
}
