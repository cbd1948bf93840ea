"""Airflow and MLflow on this machine, for the demo and for `make up`.

`airflow standalone` would open its log servers on all addresses. So its four processes are
started one by one, on loopback only, with a Postgres of their own. All files are in TAILRACE_HOME.
The first start makes the secrets; only their owner can read them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from scripts.postgres import Postgres
from scripts.processes import Processes, write_private
from tailrace import settings
from tailrace.commands.airflow.api import AirflowApi

HOST = "127.0.0.1"
USER = "admin"
BIN = Path(sys.executable).parent
START_SECONDS = 180
SPARK_HISTORY_PORT = 18080


class Stack:
    """The running processes, their addresses and the login; `environment` has the variables of the processes.

    If a port is 0 or not free, another one is chosen.
    """

    def __init__(
        self, configured: settings.Settings, parallelism: int, airflow_port: int = 0, mlflow_port: int = 0
    ) -> None:
        self.home = configured.home / "airflow"
        self.home.mkdir(parents=True, exist_ok=True)
        self._secrets = _secrets(self.home / "secrets.json")
        self.password = self._secrets["password"]
        self.airflow_url = f"http://{HOST}:{_free_port(airflow_port)}"
        self.mlflow_url = f"http://{HOST}:{_free_port(mlflow_port)}"
        self.configured = configured
        self.spark_history_url = self._own_spark_history()
        self.postgres = Postgres(self.home / "postgres")
        self.environment = os.environ | self._airflow(parallelism) | self._tailrace()
        self.processes = Processes(self.home / "processes")

    @contextlib.contextmanager
    def started(self) -> Iterator[Stack]:
        """The started stack. It is stopped at the end, also after an error."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Start everything and return when Airflow is healthy. Raises RuntimeError naming the log to read."""
        self._migrate()
        history = ["spark-history"] if self.spark_history_url else []
        for name in ("api-server", "dag-processor", "scheduler", "triggerer", "mlflow", *history):
            self.start_one(name)
        self._make_pool()
        # Tasks report to the api-server, so nothing else starts before it answers.
        self._await(f"{self.airflow_url}/api/v2/monitor/health", "api-server")
        login = {"url": self.airflow_url, "user": USER, "password": self.password}
        write_private(self._login, json.dumps(login))

    def api(self, zone: ZoneInfo) -> AirflowApi:
        """Airflow's REST API, with the stack's own user. Days are days of the time zone `zone`."""
        return AirflowApi(self.airflow_url, USER, self.password, zone)

    def start_one(self, name: str) -> None:
        """Start one of the processes, after `prepare` or when it has ended."""
        command, *arguments = {
            "api-server": ("airflow", "api-server"),
            "mlflow": ("mlflow", "server", *self._mlflow_arguments()),
            "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
            "dag-processor": ("airflow", "dag-processor"),
            "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
            "spark-history": ("python", "-m", "scripts.spark_history", self.spark_history_url.rpartition(":")[2]),
        }[name]
        self.processes.spawn(name, [BIN / command, *arguments], self.environment)

    def prepare(self) -> None:
        """Start only the metadata database, ready for Airflow's commands. Raises RuntimeError naming the log."""
        self._migrate()
        self._make_pool()

    def _migrate(self) -> None:
        self.processes.claim()
        self._start_database()
        self._run("migrate", "airflow", "db", "migrate")

    def _make_pool(self) -> None:
        self._run("pools", "airflow", "pools", "set", "warehouse", "1", "the DuckDB file has one writer")

    def restart_database(self) -> None:
        """Stop the metadata database, even while it is in use, and start it again."""
        self.postgres.stop()
        self._start_database()

    def stop(self) -> None:
        """End every process that was started, and its children."""
        if self.processes.claimed:
            self._login.unlink(missing_ok=True)
            self.processes.stop()

    def _start_database(self) -> None:
        self.processes.add("postgres", self.postgres.start("airflow"), ends_by=signal.SIGINT)

    @property
    def _login(self) -> Path:
        """The file with the login that clients on this machine use while the stack runs."""
        return self.home / "login.json"

    def _airflow(self, parallelism: int) -> dict[str, str]:
        passwords = self.home / "passwords.json"
        write_private(passwords, json.dumps({USER: self.password}))
        options = {
            "API__HOST": HOST,
            "API__PORT": self.airflow_url.rpartition(":")[2],
            "API__BASE_URL": self.airflow_url,
            "API__SECRET_KEY": self._secrets["secret_key"],
            "API__WORKERS": "1",
            "API_AUTH__JWT_SECRET": self._secrets["jwt_secret"],
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "CORE__DAGS_FOLDER": str(self.configured.project.dags),
            "CORE__PLUGINS_FOLDER": str(self.configured.project.plugins),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__EXECUTOR": "tailrace.orchestration.executor.WarmExecutor",
            "CORE__PARALLELISM": str(parallelism),
            "CORE__FERNET_KEY": self._secrets["fernet_key"],
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "DATABASE__SQL_ALCHEMY_CONN": self.postgres.url("airflow"),
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
            # How often a supervisor checks whether its task has ended, in whole seconds; 5 by default.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # On a busy machine, an answer may take longer than the default limit of 5 seconds.
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
            "COSMOS__ENABLE_TELEMETRY": "False",
        }
        return {"AIRFLOW_HOME": str(self.home)} | {f"AIRFLOW__{name}": value for name, value in options.items()}

    def _tailrace(self) -> dict[str, str]:
        return {
            # Airflow's processes may have any working folder.
            "TAILRACE_PROJECT": str(self.configured.project.root),
            "TAILRACE_HOME": str(self.configured.home),
            "TAILRACE_TRACKING_UI": self.mlflow_url,
            **self._spark_history(),
            # Not as an argument: it may contain a password, and every user of the machine can see arguments.
            "MLFLOW_BACKEND_STORE_URI": self.configured.tracking_uri,
            # MLflow needs jobs only for its language model features: seven idle processes of 250 MiB each.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def _own_spark_history(self) -> str:
        """The address of our own history server; empty if the engine is not `spark`, or the settings name a server."""
        wanted = self.configured.engine == "spark" and not self.configured.spark.history
        return f"http://{HOST}:{_free_port(SPARK_HISTORY_PORT)}" if wanted else ""

    def _spark_history(self) -> dict[str, str]:
        if not self.spark_history_url:
            return {}
        events = self.configured.spark.event_log or str(self.configured.home / "spark-events")
        return {"TAILRACE_SPARK_EVENT_LOG": events, "TAILRACE_SPARK_HISTORY": self.spark_history_url}

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
        self.processes.run(name, [BIN / command[0], *command[1:]], self.environment)

    def _await(self, url: str, name: str) -> None:
        @retry(
            retry=retry_if_exception_type(httpx.HTTPError), wait=wait_fixed(0.3), stop=stop_after_delay(START_SECONDS)
        )
        def answers() -> None:
            if self.processes.ended(name):
                raise RuntimeError(f"{name} ended")
            httpx.get(url, timeout=5).raise_for_status()

        try:
            answers()
        except Exception as error:
            raise RuntimeError(f"{name} did not answer at {url}; its log is {self.processes.log(name)}") from error


@contextlib.contextmanager
def running(parallelism: int = 2) -> Iterator[Stack]:
    """The stack of `make up`, on its usual ports."""
    with Stack(settings.load(), parallelism, airflow_port=8080, mlflow_port=5000).started() as stack:
        yield stack


def _secrets(path: Path) -> Mapping[str, str]:
    if not path.exists():
        made = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt_secret")}
        made["password"] = secrets.token_urlsafe(12)
        made["fernet_key"] = _fernet_key()
        write_private(path, json.dumps(made))
    return json.loads(path.read_text())


def _fernet_key() -> str:
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def _free_port(wanted: int) -> int:
    """The port if nothing listens on it, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise RuntimeError("there is no free port")
