#!/bin/sh
# Rows of which a share has a real, but bad answer: what a filter has to find.
#
#   samples/alol-comparison/make-bad.sh PAIRS SHARE SEED > ROWS
#
# PAIRS: lines with prompt, chosen, rejected, chosen_score and rejected_score (short/train.jsonl of prepare-hh.sh). ROWS: prompt and completion; the
# completion is the better answer, or, in SHARE (0 to 1) of the rows drawn by SEED, a bad one: every other time the row's own rejected
# answer, else an answer to another prompt, from the quarter of all answers with the lowest scores. Nothing says which rows they are.
set -eu
export LC_ALL=C

awk -v share="$2" -v seed="$3" '
    # Park and Miller: the same rows from every awk.
    function uniform() { state = (state * 16807) % 2147483647; return state / 2147483647 }
    function text(key) {
        return match($0, "\"" key "\":[ ]*\"([^\"\\\\]|\\\\.)*\"") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : ""
    }
    function number(key) {
        return match($0, "\"" key "\":[ ]*-?[0-9.eE+-]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0
    }
    {
        prompt[NR] = text("prompt"); good[NR] = text("chosen"); bad[NR] = text("rejected")
        answer[2 * NR - 1] = good[NR]; score[2 * NR - 1] = number("chosen_score")
        answer[2 * NR] = bad[NR]; score[2 * NR] = number("rejected_score")
    }
    END {
        # The score that a quarter of the answers lie below, by halving.
        low = score[1]; high = score[1]
        for (i = 1; i <= 2 * NR; i++) { if (score[i] < low) low = score[i]; if (score[i] > high) high = score[i] }
        for (round = 0; round < 40; round++) {
            middle = (low + high) / 2
            below = 0
            for (i = 1; i <= 2 * NR; i++) below += score[i] < middle
            if (below < NR / 2) low = middle; else high = middle
        }
        for (i = 1; i <= 2 * NR; i++) if (score[i] <= high) worst[++count] = i
        state = 1 + seed % 2147483646
        for (i = 0; i < 10; i++) uniform()
        for (row = 1; row <= NR; row++) {
            completion = good[row]
            if (uniform() < share) {
                if (++replaced % 2) completion = bad[row]
                else {
                    do other = worst[1 + int(uniform() * count)]; while (prompt[int((other + 1) / 2)] == prompt[row] && tries++ < 1000)
                    completion = answer[other]
                }
            }
            print "{\"prompt\":" prompt[row] ",\"completion\":" completion "}"
        }
    }' "$1"
