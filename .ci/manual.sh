#!/bin/bash
# Man pages from what the executable says of itself: keel.1 and one page per subcommand.
#
#   .ci/manual.sh KEEL FOLDER
set -eu
keel=$1 folder=$2

# page NAME TITLE ARGUMENTS...: the help text of `keel ARGUMENTS` as a man page
page() {
    local name=$1
    shift
    "$keel" "$@" --help | awk -v name="$name" -v version="$("$keel" --version)" '
        function literal(text) {
            gsub(/\\/, "\\e", text)
            gsub(/-/, "\\-", text)
            if (text ~ /^[.\x27]/) text = "\\&" text
            return text
        }
        BEGIN {
            upper = toupper(name)
            printf ".TH %s 1 \"\" \"keel %s\" \"Keel\"\n.SH NAME\n%s \\- ", upper, version, name
        }
        NR == 1 { sub(/^OVERVIEW: /, ""); print literal($0); next }
        NR > 1 && !body && /^$/ { body = 1; print ".SH DESCRIPTION\n.nf"; next }
        /^USAGE: / { sub(/^USAGE: /, ""); print ".fi\n.SH SYNOPSIS\n.nf\n" literal($0); next }
        /^[A-Z ]+:$/ { sub(/:$/, ""); print ".fi\n.SH " $0 "\n.nf"; next }
        { print literal($0) }
        END { print ".fi" }' >"$folder/$name.1"
}

# subcommands ARGUMENTS...: their names
subcommands() {
    "$keel" "$@" --help | sed -n '/^SUBCOMMANDS:/,$ s/^  \([a-z][a-z-]*\).*/\1/p'
}

page keel
for command in $(subcommands); do
    page "keel-$command" "$command"
    for inner in $(subcommands "$command"); do
        page "keel-$command-$inner" "$command" "$inner"
    done
done
