#!/bin/sh
# Makes train.jsonl, sft.jsonl, valid.jsonl and test.jsonl: all sums a+b+c, a+b-c, a-b+c and a-b-c of digits whose
# parts and result are not negative, in an order that a fixed seed decides. No problem is in two of train.jsonl,
# valid.jsonl (to choose settings by) and test.jsonl (to measure once); sft.jsonl holds problems of train.jsonl.
cd "$(dirname "$0")" || exit 1
awk '
function add(text, value) { problem[n] = text; answer[n++] = value }
function shuffle(from, to,   i, j, t) {
    for (i = to - 1; i > from; i--) {
        seed = (seed * 16807) % 2147483647
        j = from + seed % (i - from + 1)
        t = problem[i]; problem[i] = problem[j]; problem[j] = t
        t = answer[i]; answer[i] = answer[j]; answer[j] = t
    }
}
function row(i) { return "{\"prompt\": \"" problem[i] "=\", \"answer\": \"" answer[i] "\"}" }
BEGIN {
    seed = 20260
    for (a = 0; a < 10; a++) for (b = 0; b < 10; b++) for (c = 0; c < 10; c++) {
        add(a "+" b "+" c, a + b + c)
        if (a + b >= c) add(a "+" b "-" c, a + b - c)
        if (a >= b) add(a "-" b "+" c, a - b + c)
    }
    first = n
    for (a = 0; a < 10; a++) for (b = 0; b <= a; b++) for (c = 0; c <= a - b; c++) add(a "-" b "-" c, a - b - c)
    shuffle(0, first); shuffle(first, n)

    for (i = 0; i < 300; i++) print row(i) > "valid.jsonl"
    for (i = 300; i < 570; i++) print row(i) > "test.jsonl"
    for (i = first; i < first + 30; i++) print row(i) > "test.jsonl"
    # Both kinds side by side: as many of the second as there are for one of the first.
    one = 570; other = first + 30; rows = n - 600
    for (k = 0; k < rows; k++) {
        i = int((k + 1) * (n - first - 30) / rows) > int(k * (n - first - 30) / rows) ? other++ : one++
        print row(i) > "train.jsonl"
        if (k < 800) print "{\"prompt\": \"" problem[i] "=\", \"completion\": \"" answer[i] "\"}" > "sft.jsonl"
    }
    printf "%d problems: %d to train on, 800 of them with answers for SFT, 300 to choose by, 300 held out\n", n, rows
}'
