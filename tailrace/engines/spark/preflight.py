"""Refuses settings that are known to hang or fail, with a clear message, before anything is started."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tailrace.errors import SettingsError
from tailrace.settings import SparkSettings

LEAST_JAVA = 17
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
LEAST_OVERHEAD = 384 * UNITS["m"]
OVERHEAD_SHARE = 0.4
"""Memory outside the heap as a share of the heap: the rows are in the Python workers."""
GRACE_SECONDS = 90
"""For handing over its data, if no pod template sets the seconds."""


def check(settings: SparkSettings, *, distributed: bool = False, workers: int = 0) -> None:
    """Raise SettingsError with a sentence for each problem, if there is one."""
    if problems := problems_of(settings, distributed, workers):
        raise SettingsError("The settings of Spark cannot work together:", problems)


def problems_of(settings: SparkSettings, distributed: bool = False, workers: int = 0) -> list[str]:
    """One sentence for each setting or combination that is known to hang or fail.

    `distributed`: a candidate trains in barrier stages, in which either all `workers` tasks start together or none.
    """
    problems = [*_java(settings.java_home), *_reader(settings)]
    if settings.master.startswith("k8s://"):
        problems += _kubernetes(settings)
    if not settings.master.startswith("local"):
        problems += _sizes(settings)
    if distributed:
        problems += _barrier(settings, workers)
    return problems


def of_this_machine(settings: SparkSettings) -> SparkSettings:
    """Settings for work so small that it needs no executors: a JVM here, and this process's Python."""
    return replace(settings, master="local[2]", python="", event_log="")


def _java(home: str) -> list[str]:
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    found = "none was found" if java is None else f"{java} {_java_version(java)}"
    if java is not None and (version := _java_major(java)) is not None and version >= LEAST_JAVA:
        return []
    return [
        f"Spark needs Java {LEAST_JAVA} or newer, but {found}; install one (Debian: apt-get install "
        "openjdk-17-jre-headless) and set JAVA_HOME if it is not on PATH, or use TAILRACE_ENGINE=local."
    ]


def _java_version(java: str) -> str:
    version = _java_major(java)
    return "does not report its version" if version is None else f"is Java {version}"


@functools.cache
def _java_major(java: str) -> int | None:
    """The feature release: 8 for "1.8.0_402", 17 for "17.0.15"."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found else None


def _reader(settings: SparkSettings) -> list[str]:
    if settings.native_reader != "delta":
        return []
    configured = " ".join(
        value for name, value in settings.conf.items() if name.startswith("spark.jars") or "extraClassPath" in name
    )
    if "delta" in configured or any(_spark_jars().glob("delta-spark*.jar")):
        return []
    return [
        "TAILRACE_SPARK_NATIVE_READER is 'delta' and no delta-spark jar is configured; name it in "
        'TAILRACE_SPARK_CONF, as {"spark.jars.packages": "io.delta:delta-spark_4.1_2.13:4.1.0"} or '
        '{"spark.jars": "/path/to/delta-spark.jar"}.'
    ]


def _spark_jars() -> Path:
    spec = find_spec("pyspark")
    return Path(spec.origin).parent / "jars" if spec and spec.origin else Path("jars")


def _kubernetes(settings: SparkSettings) -> list[str]:
    required = {
        "image": "the image with Tailrace's environment that executors start from",
        "namespace": "the namespace executors start in",
        "service_account": "the account that may create executors there",
        "driver_host": "the address at which executors reach the driver (in a pod: status.podIP)",
    }
    problems = [
        f"TAILRACE_SPARK_{name.upper()} is not set, and {settings.master} needs it: {meaning}."
        for name, meaning in required.items()
        if not getattr(settings, name)
    ]
    if settings.pod_template and not Path(settings.pod_template).is_file():
        problems.append(f"TAILRACE_SPARK_POD_TEMPLATE is {settings.pod_template!r}, and there is no such file.")
    elif settings.pod_template and not isinstance(_pod_spec(settings.pod_template), dict):
        problems.append(
            f"TAILRACE_SPARK_POD_TEMPLATE is {settings.pod_template!r}, which is not a pod in YAML; use "
            "deploy/kubernetes/base/pod-templates/executor.yaml, unchanged or as a template."
        )
    return problems


def grace_seconds(template: str) -> int:
    """How many seconds an executor has to hand over its data before it is killed, from its pod template.

    Spark replaces the template's number by its own setting, so that setting must have the same number.
    """
    spec = _pod_spec(template) if template else None
    return int((spec or {}).get("terminationGracePeriodSeconds", GRACE_SECONDS))


def _pod_spec(template: str) -> Any:
    """The template's `spec`; None if the file has none."""
    import yaml

    try:
        pod = yaml.safe_load(Path(template).read_text())
    except (OSError, yaml.YAMLError):
        return None
    return pod.get("spec") if isinstance(pod, dict) else None


def _sizes(settings: SparkSettings) -> list[str]:
    problems = []
    if 0 < settings.node_cores < settings.executor_cores:
        problems.append(
            f"TAILRACE_SPARK_EXECUTOR_CORES is {settings.executor_cores} and the largest node has "
            f"{settings.node_cores} (TAILRACE_SPARK_NODE_CORES): no executor would ever start; ask for fewer."
        )
    if settings.node_memory and executor_bytes(settings) > bytes_of(settings.node_memory):
        problems.append(
            f"An executor needs {size_text(executor_bytes(settings))} (TAILRACE_SPARK_EXECUTOR_MEMORY "
            f"{settings.executor_memory} plus the overhead) and the largest node has {settings.node_memory} "
            "(TAILRACE_SPARK_NODE_MEMORY): no executor would ever start; ask for less."
        )
    return problems


def _barrier(settings: SparkSettings, workers: int) -> list[str]:
    problems = []
    if settings.dynamic_allocation:
        problems.append(
            "TAILRACE_SPARK_DYNAMIC_ALLOCATION is on and a candidate trains distributed: its tasks all "
            "start at once or not at all, and Spark refuses this if the number of executors varies; switch it off."
        )
    slots = slots_of(settings)
    if workers > slots:
        problems.append(
            f"A candidate trains on {workers} workers and {settings.master} runs {slots} tasks at once: it would "
            "wait forever; use fewer workers, or raise TAILRACE_SPARK_EXECUTORS or TAILRACE_SPARK_EXECUTOR_CORES."
        )
    return problems


def slots_of(settings: SparkSettings) -> int:
    """The number of tasks that run at once when all requested executors have started."""
    if found := re.match(r"local\[(\d+|\*)", settings.master):
        return (os.cpu_count() or 1) if found[1] == "*" else int(found[1])
    return settings.executors * settings.executor_cores


def executor_bytes(settings: SparkSettings) -> int:
    """Memory of one executor's pod or process: the heap and the memory outside it."""
    heap = bytes_of(settings.executor_memory)
    if settings.executor_memory_overhead:
        return heap + bytes_of(settings.executor_memory_overhead)
    return heap + max(LEAST_OVERHEAD, int(heap * OVERHEAD_SHARE))


def bytes_of(memory: str) -> int:
    """2147483648 for '2g'."""
    return int(memory[:-1]) * UNITS[memory[-1]]


def size_text(size: int) -> str:
    """'2.8 GiB' for a number of bytes."""
    return f"{size / UNITS['g']:.1f} GiB" if size >= UNITS["g"] else f"{size / UNITS['m']:.0f} MiB"
