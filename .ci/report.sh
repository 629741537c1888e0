# Sourced by test.sh and test-long.sh, which set `build` and give their arguments: runs checks one by one and counts them.
# shellcheck shell=bash disable=SC2154
logs=$build/logs
only=" $* "
begin=$SECONDS
passed=0
failed=0
failures=()
mkdir -p "$logs"

wanted() { [ "$only" = "  " ] || [[ $only == *" $1 "* ]]; }

# check NAME COMMAND...: one check; its output is shown when it fails
check() {
    local name=$1 start=$SECONDS
    shift
    wanted "$name" || return 0
    if "$@" >"$logs/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $name ($((SECONDS - start)) s)"
    else
        failed=$((failed + 1))
        failures+=("$name")
        echo "FAILED  $name ($((SECONDS - start)) s): $logs/$name.log"
        tail -n 60 "$logs/$name.log" | sed 's/^/    /'
    fi
}

# tests NAME COMMAND...: a run of `swift test`, whose tests count one by one
tests() {
    local name=$1 start=$SECONDS code good bad
    shift
    wanted "$name" || return 0
    "$@" >"$logs/$name.log" 2>&1
    code=$?
    good=$(grep -cE '^.{1,4}Test .* passed after' "$logs/$name.log")
    bad=$(grep -cE '^.{1,4}Test .* failed after' "$logs/$name.log")
    [ $code -ne 0 ] && [ "$bad" = 0 ] && bad=1
    [ $code -eq 0 ] && [ "$good" = 0 ] && bad=1
    passed=$((passed + good))
    failed=$((failed + bad))
    if [ "$bad" = 0 ]; then
        echo "ok      $name: $good tests ($((SECONDS - start)) s)"
    else
        failures+=("$name")
        echo "FAILED  $name: $good passed, $bad failed ($((SECONDS - start)) s): $logs/$name.log"
        grep -E 'recorded an issue|failed after|error:|Fatal|==ERROR' "$logs/$name.log" | head -n 60 | sed 's/^/    /'
    fi
}

# The last lines: what failed, how much passed. Its status is the whole's.
summary() {
    echo "$1 took $((SECONDS - begin)) s"
    [ ${#failures[@]} -eq 0 ] || echo "failed: ${failures[*]}"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
