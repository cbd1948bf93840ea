"""Writes .env: random secrets for `docker compose up`. Only the owner of the file can read it.

If there is a .env of an earlier release, it adds what that release did not have, and changes nothing of what is there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
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
    "OBJECT_STORE_SIGNING_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_AIRFLOW_PASSWORD",
    "MLFLOW_NOTEBOOK_PASSWORD",
    "MLFLOW_PAGES_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "AIRFLOW_SECRET_KEY",
    "AIRFLOW_JWT_SECRET",
    "SPARK_SECRET",
    "GRAFANA_PASSWORD",
    "JUPYTER_TOKEN",
)
ROLES = ("airflow", "backup", "mlflow", "notebook", "pages", "spark")
"""Each has a key pair of its own for the object store; deploy/compose/object-store.json says what it may do."""
ASSIGNED = re.compile(r"^\s*(?:export\s+)?(\w+)\s*=", re.M)


def made() -> dict[str, str]:
    """A value for each secret. Every call makes new ones."""
    # Hexadecimal, so that URLs, JSON and Spark's configuration can contain them without escapes.
    values = {name: secrets.token_hex(32) for name in PASSWORDS}
    values["OBJECT_STORE_USER"] = f"tailrace-{secrets.token_hex(4)}"
    for role in ROLES:
        values[f"OBJECT_STORE_{role.upper()}_KEY"] = f"{role}-{secrets.token_hex(8)}"
        values[f"OBJECT_STORE_{role.upper()}_SECRET"] = secrets.token_hex(32)
    values["AIRFLOW_FERNET_KEY"] = Fernet.generate_key().decode()
    values["AIRFLOW_USERS"] = "admin:admin"
    values["AIRFLOW_PASSWORDS"] = json.dumps({"admin": secrets.token_urlsafe(16)})
    return values


def write(path: Path) -> tuple[str, ...]:
    """Write the file, or add to it the secrets that it does not have. Returns the names that were added.

    What the file has stays as it is: the stack's volumes use it.
    """
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        there = file.read()
        known = set(ASSIGNED.findall(there))
        new = {name: value for name, value in made().items() if name not in known}
        file.write(HEAD if not there else "" if there.endswith("\n") else "\n")
        file.write(lines(new))
    return tuple(new)


def lines(values: Mapping[str, str]) -> str:
    """The values as lines of .env."""
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def main() -> None:
    """Write .env next to docker-compose.yaml, or extend it; say what was done."""
    path = REPOSITORY / ".env"
    existed = path.exists()
    added = write(path)
    if not existed:
        print(f"{path} written. Logins are in it: Airflow's in AIRFLOW_PASSWORDS, MLflow's in MLFLOW_ADMIN_PASSWORD.")
    elif added:
        print(f"{path} existed. Nothing in it was changed. Added: {', '.join(added)}.")
    else:
        sys.exit(f"{path} exists already and has every secret. Nothing was changed.")


if __name__ == "__main__":
    main()
