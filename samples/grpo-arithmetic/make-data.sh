#!/bin/sh
# Makes train.jsonl, valid.jsonl and sft.jsonl: all sums a+b+c, a+b-c, a-b+c of digits whose parts and result are not
# negative, in an order that a fixed seed decides. No problem of valid.jsonl is in the other two.
cd "$(dirname "$0")" || exit 1
awk 'BEGIN {
    seed = 20260
    for (a = 0; a < 10; a++) for (b = 0; b < 10; b++) for (c = 0; c < 10; c++) {
        problem[n] = a "+" b "+" c; answer[n++] = a + b + c
        if (a + b >= c) { problem[n] = a "+" b "-" c; answer[n++] = a + b - c }
        if (a >= b) { problem[n] = a "-" b "+" c; answer[n++] = a - b + c }
    }
    for (i = n - 1; i > 0; i--) {
        seed = (seed * 16807) % 2147483647
        j = seed % (i + 1)
        t = problem[i]; problem[i] = problem[j]; problem[j] = t
        t = answer[i]; answer[i] = answer[j]; answer[j] = t
    }
    for (i = 0; i < n; i++) {
        row = "{\"prompt\": \"" problem[i] "=\", \"answer\": \"" answer[i] "\"}"
        print row > (i < 300 ? "valid.jsonl" : "train.jsonl")
        if (i >= 300 && i < 1100)
            print "{\"prompt\": \"" problem[i] "=\", \"completion\": \"" answer[i] "\"}" > "sft.jsonl"
    }
    printf "%d problems: 300 held out, %d to train on, 800 of them with answers for SFT\n", n, n - 300
}'
