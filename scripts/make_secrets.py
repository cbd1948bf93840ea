"""Writes .env: random secrets for `docker compose up`. Only the owner of the file can read it."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path

from cryptography.fernet import Fernet

REPOSITORY = Path(__file__).resolve().parent.parent
HEAD = """# Secrets of docker-compose.yaml, made by `make secrets`. Keep a copy in a safe place: without the Fernet key
# connections stored in Airflow cannot be read, and Postgres keeps the passwords it was first started with.
"""
PASSWORDS = (
    "POSTGRES_PASSWORD",
    "AIRFLOW_DATABASE_PASSWORD",
    "MLFLOW_DATABASE_PASSWORD",
    "WAREHOUSE_DATABASE_PASSWORD",
    "OBJECT_STORE_PASSWORD",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "SPARK_SECRET",
    "GRAFANA_PASSWORD",
    "JUPYTER_TOKEN",
)


def made() -> str:
    """The text of the file. Every call makes new secrets."""
    # Hexadecimal, so that URLs, JSON and Spark's configuration can contain them without escapes.
    values = {name: secrets.token_hex(32) for name in PASSWORDS}
    values["OBJECT_STORE_USER"] = f"tailrace-{secrets.token_hex(4)}"
    values["AIRFLOW_FERNET_KEY"] = Fernet.generate_key().decode()
    values["AIRFLOW_USERS"] = "admin:admin"
    values["AIRFLOW_PASSWORDS"] = json.dumps({"admin": secrets.token_urlsafe(16)})
    return HEAD + "".join(f"{name}='{value}'\n" for name, value in values.items())


def write(path: Path) -> None:
    """Write the file. Raises FileExistsError: secrets that are in use are never replaced."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made())


def main() -> None:
    """Write .env next to docker-compose.yaml, unless it exists."""
    path = REPOSITORY / ".env"
    try:
        write(path)
    except FileExistsError:
        sys.exit(f"{path} exists already, and the stack's volumes may use its passwords. Remove both, or neither.")
    print(f"{path} written. Airflow's login is in it: AIRFLOW_PASSWORDS.")


if __name__ == "__main__":
    main()
