#!/bin/bash
# The curves of docs/speed.md: what a token costs, by length, model size, threads, step and number of rows.
#
#   bench/curves.sh KEEL MODELS DATA.jsonl [CURVE...]
#
# KEEL    the executable, its plugins and keel-worker beside it
# MODELS  what `bench/models.sh ... sizes` made
# DATA    pairs (HH: prompt, chosen, rejected), some 5,000 of them
# CURVE   length size threads steps rows; without any, all
#
# length  SFT of m135 in bf16 on 4,096 tokens a step, in rows of 128 to 2,048 tokens
# size    the same in rows of 512 for m1, m10, m135 and m360
# threads the same for m135 with 1 and 2 threads
# steps   1,000 steps of DPO of m1: CPU time of a token and memory (without files), a hundred steps a line
# rows    an epoch of DPO of m1 over 1,000, 4,000 and 16,000 rows of the same lengths
#
# THREADS (2) and OUT (a scratch folder) come from the environment. The first step of a run is left out where steps are
# counted: it makes memory and kernels.
set -eu
if [ $# -lt 3 ]; then
    sed -n '2,17p' "$0" >&2
    exit 64
fi
keel=$(realpath "$1") models=$(realpath "$2") data=$(realpath "$3")
shift 3
threads=${THREADS:-2}
out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
[ $# -gt 0 ] || set -- length size threads steps rows

# Long texts: whole conversations one after the other, 40 to a row.
texts() {
    sed -E 's/.*"prompt":"(([^"\\]|\\.)*)","chosen":"(([^"\\]|\\.)*)".*/\1\3/' "$data" |
        awk '{ text = text $0 } NR % 40 == 0 { printf "{\"text\":\"%s\"}\n", text; text = "" }'
}

# train NAME MODEL OBJECTIVE ROWS THREADS KEY=VALUE...: in bf16; the table of metrics, the trace and the memory stay in $out
train() {
    local name=$1 model=$2 objective=$3 rows=$4 count=$5
    shift 5
    cat >"$out/$name.json" <<JSON
{"model": {"path": "$models/$model", "dtype": "bf16"}, "order": {"plugin": "sequential"},
 "data": {"train": "$rows", "max_length": 512}, "objective": {"plugin": "$objective"},
 "train": {"learning_rate": 1e-5, "save_steps": 0, "logging_steps": 1, "threads": $count},
 "output_dir": "$out/$name"}
JSON
    for word; do
        set -- "$@" --set "$word"
        shift
    done
    rm -rf "${out:?}/$name"
    "$keel" train "$out/$name.json" "$@" --profile "$out/$name.trace" >"$out/$name.out" 2>"$out/$name.log" &
    local pid=$! step
    : >"$out/$name.memory"
    while kill -0 $pid 2>/dev/null; do # step, private MiB (no pages of files) now, MiB at most
        step=$(wc -l 2>/dev/null <"$out/$name/metrics.jsonl" || echo 0)
        awk -v step="$step" '/VmHWM/ { peak = $2 } /RssAnon/ { print step, $2 / 1024, peak / 1024 }' \
            /proc/$pid/status 2>/dev/null >>"$out/$name.memory" || true
        sleep 0.1
    done
    if ! wait $pid; then
        tail -n 5 "$out/$name.log" >&2
        exit 1
    fi
}

# steps NAME: a line for every step: number, CPU ms, tokens, useful GFLOP per CPU second
steps() {
    awk '
        FILENAME ~ /jsonl$/ && match($0, /"num_tokens":[0-9.e+]+/) {
            sum = substr($0, RSTART + 13, RLENGTH - 13) + 0; tokens[++n] = sum - last; last = sum
        }
        /CPU ms of a step/ {
            line = $0; sub(/.*"args":\{/, "", line); sub(/\}.*/, "", line); cpu = 0
            parts = split(line, part, ",")
            for (i = 1; i <= parts; i++) { split(part[i], pair, ":"); cpu += pair[2] }
            ms[++steps] = cpu
        }
        /useful GFLOP per CPU second/ { line = $0; sub(/.*"all":/, "", line); rate[steps] = line + 0 }
        END { for (i = 1; i <= steps; i++) print i, ms[i], tokens[i], rate[i] }' "$out/$1/metrics.jsonl" "$out/$1.trace"
}

# report NAME LABEL: CPU ms a token, rate and memory at most, the first step left out
report() {
    { cat "$out/$1.memory"; echo end; steps "$1"; } | awk -v label="$2" '
        $1 == "end" { counting = 1; next }
        !counting { if ($2 > own) own = $2; if ($3 > peak) peak = $3; next }
        $1 > 1 { ms += $2; tokens += $3; flops += $2 * $4 }
        END {
            printf "%-22s %9.4f CPU ms a token %6.0f GFLOP/CPU s %7.0f MiB at most, %.0f without files\n", label,
                ms / tokens, flops / ms, peak, own
        }'
}

for curve; do
    echo "== $curve"
    case $curve in
    length | size | threads) texts >"$out/texts.jsonl" ;;
    esac
    case $curve in
    length)
        for length in 128 256 512 1024 2048; do
            train length m135 sft "$out/texts.jsonl" "$threads" "data.max_length=$length" train.max_steps=3 \
                "train.per_device_train_batch_size=$((4096 / length))"
            report length "rows of $length tokens"
        done
        ;;
    size)
        for model in m1 m10 m135 m360; do
            train size $model sft "$out/texts.jsonl" "$threads" train.max_steps=3 train.per_device_train_batch_size=8
            report size "$model"
        done
        ;;
    threads)
        for count in 1 2; do
            train threads m135 sft "$out/texts.jsonl" $count train.max_steps=3 train.per_device_train_batch_size=8
            report threads "$count threads"
        done
        ;;
    steps)
        train steps m1 dpo "$data" "$threads" train.max_steps=1000 train.per_device_train_batch_size=4
        # The memory at the last look before each hundred steps were over.
        { cat "$out/steps.memory"; echo end; steps steps; } | awk '
            $1 == "end" { counting = 1; next }
            !counting { held[int(($1 - 1) / 100)] = $2; next }
            $1 >= 10 { part = int(($1 - 1) / 100); ms[part] += $2; tokens[part] += $3 }
            END {
                for (i = 0; i < 10; i++)
                    printf "steps %4d to %4d %14.5f CPU ms a token %7.0f MiB\n", i ? i * 100 + 1 : 10, i * 100 + 100,
                        ms[i] / tokens[i], held[i]
            }'
        ;;
    rows)
        # The same thousand rows again and again, each time another row by a number in front: only how many there are differs.
        for times in 1 4 16; do
            for time in $(seq "$times"); do
                head -n 1000 "$data" | awk -v time="$time" '{ sub(/"prompt": *"/, sprintf("&%06d ", 1000 * time + NR)); print }'
            done >"$out/rows.jsonl"
            train rows m1 dpo "$out/rows.jsonl" "$threads" train.num_train_epochs=1 train.per_device_train_batch_size=8
            report rows "${times},000 rows"
        done
        ;;
    *)
        echo "no curve $curve" >&2
        exit 64
        ;;
    esac
done
