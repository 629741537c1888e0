#!/bin/sh
# Runs a command and says how long it took.
#
#   .ci/timed.sh NAME COMMAND...
name=$1
shift
begin=$(date +%s)
"$@"
code=$?
echo "$name took $(($(date +%s) - begin)) s"
exit $code
