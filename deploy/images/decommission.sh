#!/usr/bin/env bash
# What an executor pod runs before it is stopped (preStop): asks Spark to hand over the executor's blocks, then waits
# for it to exit. Kubernetes ends the wait when terminationGracePeriodSeconds are over. entrypoint.sh ends the container
# only after this script, whose number it finds in the file `.hook`.
set -euo pipefail

files="${TMPDIR:-/tmp}/executor-${SPARK_EXECUTOR_POD_NAME:-0}"
echo "$$" > "$files.hook"
pid=$(cat "$files.pid")
kill -s PWR "$pid" 2> /dev/null || exit 0 # it has ended by itself
while kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
