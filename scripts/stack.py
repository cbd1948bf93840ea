"""Airflow and MLflow on this machine, for the demo and for `make up`.

`airflow standalone` would open its log servers on all addresses, so its four processes are
started one by one, on loopback only. Everything lives under TAILRACE_HOME; secrets are made at
the first start and readable by their owner alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from pipelines import settings

HOST = "127.0.0.1"
USER = "admin"
BIN = Path(sys.executable).parent
START_SECONDS = 180


class Stack:
    """The addresses and the login of what is running; `environment` is what its processes were given."""

    def __init__(self, configured: settings.Settings, parallelism: int) -> None:
        self.home = configured.home / "airflow"
        self.home.mkdir(parents=True, exist_ok=True)
        self._secrets = _secrets(self.home / "secrets.json")
        self.password = self._secrets["password"]
        self.airflow_url = f"http://{HOST}:{_free_port(8080)}"
        self.mlflow_url = f"http://{HOST}:{_free_port(5000)}"
        self.configured = configured
        self.environment = os.environ | self._airflow(parallelism) | self._tailrace()
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start everything and return when Airflow is healthy. Raises RuntimeError naming the log to read."""
        self._run("migrate", "airflow", "db", "migrate")
        self._run("pools", "airflow", "pools", "set", "warehouse", "1", "the DuckDB file has one writer")
        # Task processes talk to the api-server from their first moment: it comes first.
        self._spawn("api-server", "airflow", "api-server")
        self._spawn("mlflow", "mlflow", "server", *self._mlflow_arguments())
        self._await(f"{self.airflow_url}/api/v2/monitor/health", "api-server")
        self._spawn("scheduler", "airflow", "scheduler", "--skip-serve-logs")
        self._spawn("dag-processor", "airflow", "dag-processor")
        self._spawn("triggerer", "airflow", "triggerer", "--skip-serve-logs")

    def stop(self) -> None:
        """End every process that was started, and its children."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait_for_exit(self) -> str:
        """Block until one of the processes ends; its command."""
        while True:
            for process in self._processes:
                if process.poll() is not None:
                    return " ".join(map(str, process.args[:2]))  # type: ignore[index]
            time.sleep(1)

    def memory_mib(self) -> float:
        """Proportional set size of all processes and their children now, in MiB."""
        import psutil

        total = 0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(process.pid)
                for member in (family, *family.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        total += member.memory_full_info().pss
        return total / 2**20

    def _airflow(self, parallelism: int) -> dict[str, str]:
        passwords = self.home / "passwords.json"
        _write_private(passwords, json.dumps({USER: self.password}))
        options = {
            "API__HOST": HOST,
            "API__PORT": self.airflow_url.rpartition(":")[2],
            "API__BASE_URL": self.airflow_url,
            "API__SECRET_KEY": self._secrets["secret_key"],
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": self._secrets["jwt_secret"],
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "CORE__DAGS_FOLDER": str(settings.PROJECT / "dags"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": str(parallelism),
            "CORE__FERNET_KEY": self._secrets["fernet_key"],
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            # A supervisor looks for its task's end this often, in whole seconds; 5 by default.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        return {"AIRFLOW_HOME": str(self.home)} | {f"AIRFLOW__{name}": value for name, value in options.items()}

    def _tailrace(self) -> dict[str, str]:
        return {
            "TAILRACE_HOME": str(self.configured.home),
            "TAILRACE_TRACKING_UI": self.mlflow_url,
            # Not an argument: it may hold a password, and arguments are for all to see.
            "MLFLOW_BACKEND_STORE_URI": self.configured.tracking_uri,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def _mlflow_arguments(self) -> list[str]:
        port = self.mlflow_url.rpartition(":")[2]
        arguments = ["--host", HOST, "--port", port, "--workers", "1"]
        return [
            *arguments,
            "--serve-artifacts",
            "--artifacts-destination",
            self.configured.artifacts,
        ]

    def _run(self, name: str, *command: str) -> None:
        with self._log(name).open("wb") as log:
            done = subprocess.run([BIN / command[0], *command[1:]], env=self.environment, stdout=log, stderr=log)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed; its log is {self._log(name)}")

    def _spawn(self, name: str, *command: str) -> None:
        with self._log(name).open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [BIN / command[0], *command[1:]],
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )

    def _log(self, name: str) -> Path:
        folder = self.home / "processes"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _await(self, url: str, name: str) -> None:
        @retry(
            retry=retry_if_exception_type(httpx.HTTPError), wait=wait_fixed(0.3), stop=stop_after_delay(START_SECONDS)
        )
        def answers() -> None:
            httpx.get(url, timeout=5).raise_for_status()

        try:
            answers()
        except Exception as error:
            raise RuntimeError(f"{name} did not answer at {url}; its log is {self._log(name)}") from error


@contextlib.contextmanager
def running(parallelism: int = 2) -> Iterator[Stack]:
    """A started stack, stopped at the end whatever happens."""
    stack = Stack(settings.load(), parallelism)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def _secrets(path: Path) -> Mapping[str, str]:
    if not path.exists():
        made = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt_secret")}
        made["password"] = secrets.token_urlsafe(12)
        made["fernet_key"] = _fernet_key()
        _write_private(path, json.dumps(made))
    return json.loads(path.read_text())


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can ever read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _free_port(wanted: int) -> int:
    """The port if nothing listens on it, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise RuntimeError("there is no free port")
