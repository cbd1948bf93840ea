"""What the image is made of, as far as it can be checked without a registry, and the entry point as it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tailrace import extras
from tests.kubernetes.cluster import DRIVER_TEMPLATE, ENTRYPOINT, REPOSITORY

DOCKERFILE = (REPOSITORY / "deploy/images/Dockerfile").read_text()
COPIED = {
    source: target
    for sources, target in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) (\S+)$", DOCKERFILE, re.M)
    for source in sources.split()
}
"""What of the repository goes into the image, and where, from the working folder."""
IGNORED = [
    line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
]


def left_out(path: Path) -> bool:
    """Whether .dockerignore keeps a path of the repository away from the build."""
    relative = path.relative_to(REPOSITORY)
    return any(fnmatch(str(part), pattern) for part in (relative, *relative.parents) for pattern in IGNORED)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The image's /opt/tailrace/app as the Dockerfile fills it, without its environment."""
    made = tmp_path / "app"
    made.mkdir()
    for source, target in COPIED.items():
        held = REPOSITORY / source
        if target.startswith("/"):
            continue
        if held.is_dir():
            shutil.copytree(
                held,
                made / target,
                ignore=lambda folder, names: [name for name in names if left_out(Path(folder) / name)],
            )
        else:
            shutil.copy(held, made / target)
    return made


def stages() -> dict[str, str]:
    """The Dockerfile's stages by name; the one that is built where none is named is ''."""
    parts = re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]
    named = [(re.match(r"\S+(?: AS (\S+))?\n", part), part) for part in parts]
    return {match[1] or "": part for match, part in named if match}


def test_the_image_is_locked_non_root_and_has_no_build_tools() -> None:
    final = stages()["runtime"]
    assert DOCKERFILE.count("ARG BASE_IMAGE") == 1
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.M) == ["${BASE_IMAGE}", "${BASE_IMAGE}", "runtime", "runtime"]
    assert stages()[""].strip() == "runtime", "what is built without a target"
    assert re.findall(r"^USER (\S+)$", stages()["notebooks"], re.M)[-1] == "10001:10001"
    syncs = re.findall(r"uv sync.*", DOCKERFILE)
    assert syncs
    assert all("--frozen --no-dev ${EXTRAS}" in line for line in syncs)
    assert re.search(r"^USER (\d+):\d+$", final, re.M)
    assert not re.search(r"\b(gcc|build-essential|jdk-headless|bin/uv)\b", final)
    for installer in ("pip", "ensurepip"):
        assert f"! python3 -c 'import {installer}'" in final, f"the build does not check that {installer} is gone"


def test_every_extra_is_installed_in_every_stage_that_installs() -> None:
    """Except the adapters of cloud services: `--build-arg EXTRAS` adds the one that a project needs."""
    chosen = re.search(r'^ARG EXTRAS="(.*)"$', DOCKERFILE, re.M)
    assert chosen
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(re.findall(r"--extra (\S+)", chosen[1])) == project["optional-dependencies"].keys() - {
        "all",
        *extras.CLOUD,
    }
    for name, stage in stages().items():
        assert ("uv sync" in stage) == bool(re.search(r"^ARG EXTRAS$", stage, re.M)), f"{name}: empty after FROM"


def test_the_java_runtime_is_chosen_with_the_base() -> None:
    final = stages()["runtime"]
    assert re.search(r"^ARG JRE=openjdk-17-jre-headless$", final, re.M), "after FROM, or it is empty"
    assert re.search(r'apt-get install .*"\$\{JRE\}"', final)


def test_the_image_has_the_library_that_lightgbm_loads() -> None:
    assert re.search(r"apt-get install .* libgomp1\b", stages()["runtime"])


def test_what_the_image_copies_exists() -> None:
    for source in COPIED:
        assert (REPOSITORY / source).exists(), source
        assert not left_out(REPOSITORY / source), source


def test_the_image_parses_its_own_dags_with_heavy_tasks_as_pods(app: Path) -> None:
    """The default template is where settings look for it, and no file that the parse needs was left out."""
    assert (app / DRIVER_TEMPLATE.relative_to(REPOSITORY)).is_file()
    code = (
        "import runpy, tailrace.settings\n"
        "assert runpy.run_path('dags/flight_delay.py')['predict'].get_task('score').task_type == 'StagePod'\n"
        "print(tailrace.settings.find_project().root)\n"
    )
    pods = {
        "TAILRACE_TASKS": "pods",
        "TAILRACE_POD_IMAGE": "registry.example/tailrace:1",
        "TAILRACE_POD_NAMESPACE": "ml",
    }
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(app), "AIRFLOW_HOME": str(app.parent / "airflow")}
    parsed = subprocess.run([sys.executable, "-c", code], cwd=app, env=env | pods, capture_output=True, text=True)
    assert parsed.stdout.splitlines()[-1:] == [str(app)], parsed.stderr[-2000:]


def entrypoint(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        [str(ENTRYPOINT), *words], env={"PATH": path} | env, capture_output=True, text=True, timeout=60
    )


def test_any_other_command_runs_as_it_stands() -> None:
    asked = entrypoint("printf", "%s|", "a b", "$HOME", "*")
    assert (asked.stdout, asked.returncode) == ("a b|$HOME|*|", 0)
    assert entrypoint("sh", "-c", "exit 7").returncode == 7


def test_sparks_cluster_mode_is_no_mode_of_the_image() -> None:
    assert entrypoint("driver").returncode == 127, "a command like any other, of which there is none"


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


def executor(folder: Path, trap: str) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """The entry point as an executor whose java is a script that has set a trap, and its environment."""
    java = folder / "bin/java"
    java.parent.mkdir()
    java.write_text(f'#!/bin/bash\n{trap}\ntouch "$TMPDIR/ready"\nwhile :; do sleep 0.05; done\n')
    java.chmod(0o755)
    given = re.findall(r"\$(SPARK_(?:EXECUTOR|DRIVER|APPLICATION|RESOURCE)_\w+)", ENTRYPOINT.read_text())
    env = {"PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(folder), "JAVA_HOME": str(folder)}
    env |= dict.fromkeys(given, "x")
    container = subprocess.Popen([str(ENTRYPOINT), "executor"], env=env)
    while not ((folder / "ready").exists() and list(folder.glob("executor-*.pid"))):
        assert container.poll() is None
        time.sleep(0.02)
    return container, env


def test_a_container_ends_after_the_hook_that_stops_it_and_with_the_jvms_code(tmp_path: Path) -> None:
    """Kubernetes warns of a hook that its container outran; the stand-in for java hands over and ends with 7."""
    container, env = executor(tmp_path, "trap 'sleep 0.3; exit 7' PWR")
    hook = subprocess.run([str(ENTRYPOINT.with_name("decommission.sh"))], env=env, timeout=20)
    assert (hook.returncode, container.poll()) == (0, None)
    assert container.wait(20) == 7


def test_a_container_that_is_told_to_stop_stops_its_jvm(tmp_path: Path) -> None:
    container, _ = executor(tmp_path, "trap 'exit 143' TERM")
    container.terminate()
    assert container.wait(20) == 143
