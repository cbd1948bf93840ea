"""What the image is made of, as far as it can be checked without a registry, and the entry point as it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kubernetes.cluster import ENTRYPOINT, REPOSITORY

DOCKERFILE = (REPOSITORY / "deploy/images/Dockerfile").read_text()


def test_the_image_is_locked_non_root_and_has_no_build_tools() -> None:
    final = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert DOCKERFILE.count("ARG BASE_IMAGE") == 1
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"${BASE_IMAGE}"}
    assert all("--frozen --no-dev" in line for line in re.findall(r"uv sync.*", DOCKERFILE))
    assert re.search(r"^USER (\d+):\d+$", final, re.M)
    assert not re.search(r"\b(gcc|build-essential|jdk-headless|bin/uv)\b", final)


def test_what_the_image_copies_exists() -> None:
    for sources in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE, re.M):
        for source in sources.split():
            assert (REPOSITORY / source).exists(), source


def entrypoint(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [str(ENTRYPOINT), *words], env={"PATH": path} | env, capture_output=True, text=True, timeout=60
    )


def test_any_other_command_runs_as_it_stands() -> None:
    asked = entrypoint("printf", "%s|", "a b", "$HOME", "*")
    assert (asked.stdout, asked.returncode) == ("a b|$HOME|*|", 0)
    assert entrypoint("sh", "-c", "exit 7").returncode == 7


def test_no_command_says_what_to_give() -> None:
    asked = entrypoint()
    assert asked.returncode == 64
    assert "tailrace run" in asked.stderr


def test_an_executor_gets_its_options_whole_and_in_order(tmp_path: Path) -> None:
    """A stand-in for java prints its arguments: ten options sort by number, spaces and quotes stay."""
    java = tmp_path / "bin/java"
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    options = {f"SPARK_JAVA_OPT_{number}": f"-Dn={number}" for number in range(11)}
    options["SPARK_JAVA_OPT_3"] = "-Dpath=a b 'c' $HOME"
    spark = {
        name: name.lower()
        for name in (
            "SPARK_DRIVER_URL",
            "SPARK_EXECUTOR_ID",
            "SPARK_EXECUTOR_CORES",
            "SPARK_APPLICATION_ID",
            "SPARK_EXECUTOR_POD_IP",
            "SPARK_RESOURCE_PROFILE_ID",
            "SPARK_EXECUTOR_POD_NAME",
        )
    }
    started = entrypoint(
        "executor",
        **options,
        **spark,
        JAVA_HOME=str(tmp_path),
        TMPDIR=str(tmp_path),
        SPARK_EXECUTOR_MEMORY="512m",
        SPARK_CONF_DIR="/conf",
    )
    said = started.stdout.splitlines()
    expected = [options[f"SPARK_JAVA_OPT_{number}"] for number in range(11)]
    assert said[:13] == [*expected, "-Xms512m", "-Xmx512m"], started.stderr
    assert said[14].startswith("/conf:")
    assert said[14].endswith("pyspark/jars/*")
    assert said[said.index("--podName") + 1] == "spark_executor_pod_name"
    assert (tmp_path / "executor-spark_executor_pod_name.pid").read_text().strip().isdigit()
