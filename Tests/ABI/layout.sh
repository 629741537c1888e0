#!/bin/sh
# The layout of keel.h as static asserts: offset, size and type of every field, the value of every number.
#
#   layout.sh list HEADER            one line for each field and number, without offsets
#   layout.sh append HEADER MINOR    adds to layout.h what it does not assert yet; nothing there ever changes
#
# After a release run `append` once; LayoutTests.swift tells when it was forgotten. A header that no longer
# agrees with layout.h does not compile, and no command of this script mends that.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# Comments, preprocessor lines and line ends go; structs and enums remain.
bare() {
    sed -e ':a' -e '/\\$/{N;s/\\\n//;ba' -e '}' "$1" | sed '/^[[:space:]]*#/d' | tr '\n' ' ' |
        sed 's:/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/: :g'
}

# `field STRUCT NAME TYPE`, `struct NAME`, `number NAME VALUE`, in the order of the header.
list() {
    bare "$1" | awk '
    function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); gsub(/[ \t]+/, " ", s); return s }
    function fields(owner, body,    n, i, parts) {
        n = split(body, parts, ";")
        for (i = 1; i <= n; i++) if (trim(parts[i]) != "") field(owner, trim(parts[i]))
    }
    function field(owner, text,    name, n, i, items, type, base) {
        if (match(text, /\(\*[a-z_0-9]+\)/)) {
            name = substr(text, RSTART + 2, RLENGTH - 3)
            print "field", owner, name, substr(text, 1, RSTART - 1) "(*)" substr(text, RSTART + RLENGTH)
            return
        }
        n = split(text, items, ",")
        match(items[1], /[A-Za-z_0-9]+$/)
        type = trim(substr(items[1], 1, RSTART - 1))
        print "field", owner, substr(items[1], RSTART), type
        base = type
        sub(/[ *]+$/, "", base)
        for (i = 2; i <= n; i++) {
            name = trim(items[i])
            match(name, /[A-Za-z_0-9]+$/)
            print "field", owner, substr(name, RSTART), trim(base " " substr(name, 1, RSTART - 1))
        }
    }
    function numbers(body,    n, i, parts, pair) {
        n = split(body, parts, ",")
        for (i = 1; i <= n; i++) if (split(trim(parts[i]), pair, " = ") == 2) print "number", pair[1], pair[2]
    }
    {
        text = $0
        while (match(text, /(struct [a-z_]+|enum) \{[^{}]*\}/)) {
            piece = substr(text, RSTART, RLENGTH)
            text = substr(text, RSTART + RLENGTH)
            body = piece
            sub(/^[^{]*\{/, "", body)
            sub(/\}$/, "", body)
            if (piece ~ /^enum/) { numbers(body); continue }
            split(piece, words, " ")
            print "struct", words[2]
            fields(words[2], body)
        }
    }'
}

# The lines of `list` that layout.h does not hold yet, as asserts with the numbers of this compiler.
missing() {
    printf '%s\n' '#include <stdio.h>' "#include \"$1\"" 'int main(void) {'
    list "$1" | while read -r kind a b c; do
        case $kind in
        struct)
            case $a in
            keel_str | keel_t | keel_array | keel_call) # never grow
                grep -q "^KEEL_FIXED($a," "$here/layout.h" ||
                    printf '%s\n' "printf(\"KEEL_FIXED($a, %zu)\\n\", sizeof(struct $a));" ;;
            *) printf '%s\n' "printf(\"KEEL_STRUCT($a, $2, %zu)\\n\", sizeof(struct $a));" ;;
            esac
            ;;
        number) grep -q "^KEEL_NUMBER($a," "$here/layout.h" ||
            printf '%s\n' "printf(\"KEEL_NUMBER($a, %d)\\n\", $a);" ;;
        field) grep -q "^KEEL_FIELD($a, $b," "$here/layout.h" ||
            printf '%s\n' "printf(\"KEEL_FIELD($a, $b, %zu, %zu, $c)\\n\", offsetof(struct $a, $b), sizeof(((struct $a *)0)->$b));" ;;
        esac
    done
    echo 'return 0; }'
}

case $1 in
list) list "$2" ;;
append)
    header=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
    work=$(mktemp -d)
    trap 'rm -r "$work"' EXIT
    missing "$header" "$3" >"$work/probe.c"
    cc -std=c11 -o "$work/probe" "$work/probe.c"
    "$work/probe" >"$work/new"
    { printf '\n/* ---- 1.%s */\n' "$3"; cat "$work/new"; } >>"$here/layout.h"
    ;;
esac
