#!/usr/bin/env bash
# Starts Spark's standalone master or worker, with the stack's secret (which no command line shows), or the history
# server, which needs no secret. The master's REST server stays off: it accepts applications from anyone, without the
# secret.
set -euo pipefail
umask 077

spark=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("pyspark").submodule_search_locations[0])')
export SPARK_HOME=$spark SPARK_CONF_DIR=/tmp/conf SPARK_WORKER_DIR=/tmp/work PYSPARK_PYTHON
PYSPARK_PYTHON=$(command -v python3)
mkdir -p "$SPARK_CONF_DIR" "$SPARK_WORKER_DIR"

if [ "$1" = history ]; then
    # The history server can watch only a folder that exists.
    mkdir -p "$TAILRACE_SPARK_EVENT_LOG"
    cat > "$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.history.fs.logDirectory file:$TAILRACE_SPARK_EVENT_LOG
spark.history.fs.update.interval 5s
spark.history.fs.cleaner.enabled true
CONF
    export SPARK_DAEMON_MEMORY=512m
    exec "$spark/bin/spark-class" org.apache.spark.deploy.history.HistoryServer
fi

cat > "$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.authenticate true
spark.authenticate.secret $SPARK_SECRET
spark.network.crypto.enabled true
spark.master.rest.enabled false
CONF
unset SPARK_SECRET

case "$1" in
master) exec "$spark/bin/spark-class" org.apache.spark.deploy.master.Master --host "$(hostname -i)" --port 7077 ;;
worker) exec "$spark/bin/spark-class" org.apache.spark.deploy.worker.Worker spark://spark-master:7077 ;;
esac
