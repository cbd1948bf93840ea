#!/usr/bin/env bash
# The image's entry point. Spark on Kubernetes calls it with `executor`; it runs any other command unchanged. The
# pyspark wheel contains Spark's jars and scripts, but no entry point.
set -euo pipefail

if [ -z "${SPARK_HOME:-}" ]; then
    SPARK_HOME=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("pyspark").submodule_search_locations[0])')
    export SPARK_HOME
fi
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$(command -v python3)}"
export PYSPARK_DRIVER_PYTHON="${PYSPARK_DRIVER_PYTHON:-$PYSPARK_PYTHON}"

java_options() { # fills OPTIONS from SPARK_JAVA_OPT_0, SPARK_JAVA_OPT_1, ... in the order of their numbers
    local name
    OPTIONS=()
    while read -r name; do
        if [ -n "$name" ]; then OPTIONS+=("${!name}"); fi
    done < <(compgen -A variable SPARK_JAVA_OPT_ | sort -t_ -k4n)
}

run_executor() {
    local java=java classpath="$SPARK_HOME/jars/*"
    if [ -n "${JAVA_HOME:-}" ]; then java=$JAVA_HOME/bin/java; fi
    if [ -n "${SPARK_CONF_DIR:-}" ]; then classpath=$SPARK_CONF_DIR:$classpath; fi
    if [ -n "${SPARK_CLASSPATH:-}" ]; then classpath=$SPARK_CLASSPATH:$classpath; fi
    java_options
    "$java" "${OPTIONS[@]}" \
        "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" \
        -cp "$classpath" \
        org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
        --driver-url "$SPARK_DRIVER_URL" \
        --executor-id "$SPARK_EXECUTOR_ID" \
        --cores "$SPARK_EXECUTOR_CORES" \
        --app-id "$SPARK_APPLICATION_ID" \
        --hostname "$SPARK_EXECUTOR_POD_IP" \
        --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" \
        --podName "$SPARK_EXECUTOR_POD_NAME" &
    follow "$!"
}

# Ends with the JVM's exit code. If Kubernetes has started decommission.sh, it waits for that script first: if a
# container ends before its preStop hook, Kubernetes reports a warning, FailedPreStopHook.
follow() {
    local jvm=$1 files="${TMPDIR:-/tmp}/executor-${SPARK_EXECUTOR_POD_NAME:-0}" code=0 left
    trap 'kill -s TERM "$jvm" 2> /dev/null || true' TERM INT
    echo "$jvm" > "$files.pid" # for decommission.sh
    wait "$jvm" || code=$?
    while kill -0 "$jvm" 2> /dev/null; do # a signal interrupted the wait; the JVM still runs
        code=0
        wait "$jvm" || code=$?
    done
    for left in {1..50}; do
        if [ ! -e "$files.hook" ] || ! kill -0 "$(cat "$files.hook")" 2> /dev/null; then break; fi
        sleep 0.1
    done
    if [ -e "$files.hook" ]; then sleep 0.5; fi # time for Kubernetes to see that the hook has ended
    exit "$code"
}

case "${1:-}" in
executor)
    run_executor
    ;;
"")
    echo "entrypoint.sh: no command; give one, such as: tailrace run score flight_delay --date 2013-03-01" >&2
    exit 64
    ;;
*)
    exec "$@"
    ;;
esac
