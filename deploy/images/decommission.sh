#!/usr/bin/env bash
# What an executor pod runs before it is stopped (preStop): asks Spark to hand over the executor's blocks, then waits
# for it to exit. Kubernetes ends the wait when terminationGracePeriodSeconds are over.
set -euo pipefail

pid=$(cat "${TMPDIR:-/tmp}/executor-${SPARK_EXECUTOR_POD_NAME:-0}.pid")
kill -s PWR "$pid"
while kill -0 "$pid" 2> /dev/null; do sleep 0.5; done
