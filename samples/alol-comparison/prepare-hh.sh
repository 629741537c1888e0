#!/bin/sh
# The HH pairs as the comparison reads them.
#
#   samples/alol-comparison/prepare-hh.sh HH OUT
#
# HH has train.jsonl, valid.jsonl and test.jsonl with prompt, chosen, rejected, chosen_score and rejected_score. OUT gets three folders of the same
# three files: all/ has every row, scored/ those with scores, and short/ those of them whose prompt has at most 400 bytes: what the policies
# train on is then what they are measured on. In short/ "chosen" is the answer with the higher score: the methods that read pairs learn from the
# same rewards as the others. Answers begin with the space that stands behind "Assistant:".
set -eu
export LC_ALL=C

hh=$1
out=$2
mkdir -p "$out/all" "$out/scored" "$out/short"
for part in train valid test; do
    sed -e 's/"chosen":"/"chosen":" /' -e 's/"rejected":"/"rejected":" /' "$hh/$part.jsonl" > "$out/all/$part.jsonl"
    grep '"chosen_score":' "$out/all/$part.jsonl" > "$out/scored/$part.jsonl"
    awk '
        function number(key) {
            return match($0, "\"" key "\":-?[0-9.eE+-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0
        }
        # 11: the bytes of "prompt":"".
        match($0, /"prompt":"([^"\\]|\\.)*"/) && RLENGTH - 11 <= 400 && !/"flagged_bad":true/ {
            # Inside a text a quote has a backslash in front: only keys look like this.
            if (number("rejected_score") > number("chosen_score")) {
                gsub(/"chosen":/, "\"other\":")
                gsub(/"rejected":/, "\"chosen\":")
                gsub(/"other":/, "\"rejected\":")
                gsub(/"chosen_score":/, "\"other_score\":")
                gsub(/"rejected_score":/, "\"chosen_score\":")
                gsub(/"other_score":/, "\"rejected_score\":")
            }
            print
        }' "$out/scored/$part.jsonl" > "$out/short/$part.jsonl"
    echo "$part: $(wc -l < "$out/all/$part.jsonl") rows, $(wc -l < "$out/scored/$part.jsonl") with scores," \
        "$(wc -l < "$out/short/$part.jsonl") of them with a short prompt"
done
