#!/usr/bin/env bash
# An executor pod runs this script before it is stopped (preStop). It asks Spark to move the executor's blocks to other
# executors, then waits until the executor exits. Kubernetes ends the wait after terminationGracePeriodSeconds.
# entrypoint.sh reads this script's process id from the file `.hook`, and ends the container only after it.
set -euo pipefail

files="${TMPDIR:-/tmp}/executor-${SPARK_EXECUTOR_POD_NAME:-0}"
echo "$$" > "$files.hook"
pid=$(cat "$files.pid" 2> /dev/null) || exit 0 # the executor has not started yet: it has no blocks
kill -s PWR "$pid" 2> /dev/null || exit 0 # it has ended by itself
while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
