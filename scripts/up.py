"""Runs Airflow and MLflow on the demo's data, until Ctrl-C."""

from __future__ import annotations

import contextlib
import signal

from rich.console import Console

from scripts import stack


def main() -> None:
    """Start the processes, print addresses and login, and wait."""
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), stack.running() as running:
        console.print(f"Airflow  {running.airflow_url}   user {stack.USER}, password {running.password}")
        console.print(f"MLflow   {running.mlflow_url}")
        if running.spark_history_url:
            console.print(f"Spark    {running.spark_history_url}")
        console.print("To stop them all: Ctrl-C, or make down in another terminal. To follow the logs: make logs.")
        name = running.processes.wait_for_exit()
        console.print(f"{name} ended; its log is {running.processes.log(name)}", style="red")


if __name__ == "__main__":
    main()
