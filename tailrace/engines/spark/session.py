"""Starts a Spark session from the settings, or raises an error that says why it cannot."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from tailrace.engines.spark import cluster, executor_pods, preflight
from tailrace.engines.spark.failures import spark_errors
from tailrace.engines.spark.jvm import start_jvm
from tailrace.errors import ClusterUnavailable, SettingsError
from tailrace.settings import SparkSettings

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession


def conf_of(settings: SparkSettings) -> dict[str, str]:
    """Spark's configuration; secure and quiet unless `settings.conf` overrides it."""
    conf = {
        "spark.master": settings.master,
        "spark.driver.memory": settings.driver_memory,
        # Otherwise executors would use the `python3` on their PATH.
        "spark.pyspark.python": settings.python or sys.executable,
        "spark.pyspark.driver.python": sys.executable,
        "spark.python.worker.reuse": "true",
        # A worker that crashes leaves its Python stack in the log.
        "spark.python.worker.faulthandler.enabled": "true",
        "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        # The default, INT96, has no statistics and no defined unit.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.adaptive.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "WARN",
    }
    if settings.master.startswith("local"):
        conf |= _loopback()
    else:
        conf |= _executors(settings)
    if settings.master.startswith("k8s://"):
        conf |= _kubernetes(settings)
    if settings.native_reader == "delta":
        conf |= {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
    if settings.event_log:
        conf |= {"spark.eventLog.enabled": "true", "spark.eventLog.dir": _url(settings.event_log)}
    if settings.conf.get("spark.authenticate") == "true":
        # A shared secret also makes encryption possible, and tasks may carry the object store's credentials.
        conf["spark.network.crypto.enabled"] = "true"
    return conf | dict(settings.conf)


def open_session(settings: SparkSettings, app_name: str = "tailrace") -> SparkSession:
    """The session of this process; started if there is none, so a second caller gets the running one.

    Raises SettingsError for settings that are known to fail, ClusterUnavailable if the master does not answer or no
    executor starts within `executor_wait_seconds`, ClusterRefused if none ever will (rights, image, another Python).
    """
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    if SparkContext._active_spark_context is not None:
        return SparkSession.builder.getOrCreate()
    preflight.check(settings)
    cluster.check_answers(settings.master)
    _prepare_event_log(settings.event_log)
    values = conf_of(settings)
    _prepare_environment(settings, values)
    conf = SparkConf().setAppName(app_name).setAll(list(values.items()))
    with spark_errors(f"Starting Spark on {settings.master}"):
        gateway = start_jvm(values, settings.log)
        # The driver loads the model that it sends to executors, and is idle while Spark starts.
        threading.Thread(target=_import_libraries, name="tailrace-libraries", daemon=True).start()
        context = _started(settings, conf, gateway)
        try:
            cluster.wait_for_slots(context, settings, 1)
            cluster.check_workers(context, settings)
        except BaseException:
            context.stop()
            raise
        return SparkSession(context)


def _started(settings: SparkSettings, conf: SparkConf, gateway: JavaGateway | None) -> SparkContext:
    """The context. Raises ClusterUnavailable if Spark gave up because executors end right after their start."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext

    session = uuid.uuid4().hex
    if settings.master.startswith("k8s://"):
        conf.set(f"spark.kubernetes.executor.label.{executor_pods.SESSION}", session)
    with executor_pods.watched(settings, f"{executor_pods.SESSION}={session}") as ends:
        try:
            return SparkContext(conf=conf, gateway=gateway)
        except Py4JError as error:
            if ends.last:
                raise ClusterUnavailable(cluster.end_at_start(settings, ends)) from error
            raise


def _import_libraries() -> None:
    """Import the libraries that jobs need; if one is missing, the jobs report it."""
    for name in cluster.LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)


def _prepare_event_log(place: str) -> None:
    """Create the folder: Spark only uses a folder that exists. Raises SettingsError if it cannot be written."""
    if not place or "://" in place:
        return
    try:
        Path(place).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise SettingsError(
            "Spark cannot start:",
            [
                f"TAILRACE_SPARK_EVENT_LOG is {place!r} and cannot be written ({error.strerror}); name a "
                "writable folder, or leave it empty for no event log."
            ],
        ) from error


def _prepare_environment(settings: SparkSettings, conf: Mapping[str, str]) -> None:
    """Set the environment variables that Spark reads from nowhere else."""
    if settings.java_home:
        os.environ["JAVA_HOME"] = settings.java_home
    # A driver that was not started by spark-submit does not read `spark.pyspark.python`.
    os.environ["PYSPARK_PYTHON"] = conf["spark.pyspark.python"]
    os.environ["PYSPARK_DRIVER_PYTHON"] = conf["spark.pyspark.driver.python"]
    if settings.master.startswith("local"):
        os.environ["SPARK_LOCAL_IP"] = conf["spark.driver.bindAddress"]


def _loopback() -> dict[str, str]:
    return {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def _executors(settings: SparkSettings) -> dict[str, str]:
    conf = {
        # Spark ends the application after 2 failures per executor, over any time: on spot nodes that is soon.
        "spark.executor.maxNumFailures": str(max(10, 4 * settings.executors)),
        "spark.executor.failuresValidityInterval": "1h",
        "spark.executor.memory": settings.executor_memory,
        "spark.executor.cores": str(settings.executor_cores),
        "spark.executor.instances": str(settings.executors),
        # A standalone master has no number of instances: it assigns cores.
        "spark.cores.max": str(settings.executors * settings.executor_cores),
        # Measures the peak memory of the Python workers, for the message if one is killed for it.
        "spark.executor.processTreeMetrics.enabled": "true",
        "spark.executor.metrics.pollingInterval": "1s",
        "spark.executor.heartbeatInterval": "5s",
    }
    if settings.executor_memory_overhead:
        conf["spark.executor.memoryOverhead"] = settings.executor_memory_overhead
    else:
        conf["spark.executor.memoryOverheadFactor"] = str(preflight.OVERHEAD_SHARE)
    if settings.driver_host:
        conf |= {"spark.driver.host": settings.driver_host, "spark.driver.bindAddress": settings.driver_host}
    if settings.dynamic_allocation:
        conf |= {
            "spark.dynamicAllocation.enabled": "true",
            "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            "spark.dynamicAllocation.minExecutors": "1",
            "spark.dynamicAllocation.maxExecutors": str(settings.executors),
        }
        del conf["spark.executor.instances"]
    return conf


def _kubernetes(settings: SparkSettings) -> dict[str, str]:
    conf = {
        "spark.kubernetes.namespace": settings.namespace,
        "spark.kubernetes.container.image": settings.image,
        # Executors use the driver's IP address: no service and no cluster DNS are needed.
        "spark.kubernetes.executor.useDriverPodIP": "true",
        "spark.kubernetes.executor.deleteOnTermination": "true",
        # Otherwise Spark would clean up services and volume claims that it never makes, and need rights for that.
        "spark.kubernetes.driver.service.deleteOnTermination": "false",
        "spark.kubernetes.driver.ownPersistentVolumeClaim": "false",
        "spark.kubernetes.driver.reusePersistentVolumeClaim": "false",
        "spark.kubernetes.driver.requestTimeout": "10000",
        "spark.kubernetes.driver.connectionTimeout": "10000",
        # The application's own secret, in the executors' environment; their traffic is encrypted.
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        # An executor that must stop (spot node, drain) hands over its data first.
        "spark.decommission.enabled": "true",
        "spark.storage.decommission.enabled": "true",
        "spark.storage.decommission.rddBlocks.enabled": "true",
        "spark.storage.decommission.shuffleBlocks.enabled": "true",
        "spark.kubernetes.executor.terminationGracePeriodSeconds": f"{preflight.grace_seconds(settings.pod_template)}s",
    }
    if settings.pod_template:
        # The template sets the executors' account: either of the keys below would replace it.
        conf["spark.kubernetes.executor.podTemplateFile"] = settings.pod_template
    else:
        conf |= {
            "spark.kubernetes.authenticate.driver.serviceAccountName": settings.service_account,
            "spark.kubernetes.authenticate.executor.serviceAccountName": settings.service_account,
        }
    if settings.driver_pod:
        # The driver's pod owns the executors: they end with it, however it ends.
        conf["spark.kubernetes.driver.pod.name"] = settings.driver_pod
    return conf


def _url(place: str) -> str:
    return place if "://" in place else Path(place).absolute().as_uri()
