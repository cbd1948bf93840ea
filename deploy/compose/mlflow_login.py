"""MLflow's users: `airflow` writes runs and models, `pages` and `notebook` only read, `admin` makes further users.

mlflow.sh runs this file before the server starts: it writes the configuration of MLflow's login app and makes the
users with the passwords of the environment. The server imports it for `authenticate`: MLflow's own rules would let
every user make new experiments and models.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

ADMIN, WRITER, READERS = "admin", "airflow", ("notebook", "pages")
ALL = "*"
READING = {"GET", "HEAD", "OPTIONS"}
SEARCHES = ("/search", "/search-datasets", "/get-history-bulk-interval", "/graphql")
"""The ends of paths that only read, although clients call them with POST."""


def authenticate() -> Any:
    """What MLflow's own login says of this request's name and password; 403 if a reader's request would write."""
    from flask import make_response, request
    from mlflow.server.auth import authenticate_request_basic_auth

    known = authenticate_request_basic_auth()
    reads = request.method in READING or request.path.rstrip("/").endswith(SEARCHES)
    if getattr(known, "username", None) in READERS and not reads:
        return make_response(f"The user {known.username} may only read. Airflow's tasks write runs and models.", 403)
    return known


def configuration(database: str) -> str:
    """The configuration of MLflow's login app. Its users are in the database of MLflow's registry."""
    return f"""[mlflow]
default_permission = READ
database_uri = {database.replace("%", "%%")}
admin_username = {ADMIN}
authorization_function = mlflow_login:authenticate
# Checking a password takes 0.1 s of CPU, and MLflow would do it for every request. A changed password is thus noticed
# after this time, or at once when the server is started again.
auth_cache_ttl_seconds = 300
"""


def make_users(database: str, passwords: dict[str, str]) -> None:
    """Make the users that are missing, and set each one's password. The writer may write what others made, too."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(database)
    for name, password in passwords.items():
        if not store.has_user(name):
            store.create_user(name, password, is_admin=name == ADMIN)
        elif not store.authenticate_user(name, password):
            store.update_user(name, password=password)
    for kind in ("experiment", "registered_model"):
        store.grant_user_permission(WRITER, kind, ALL, "MANAGE")


def main() -> None:
    """Write the configuration and make the users."""
    database = os.environ["MLFLOW_BACKEND_STORE_URI"]
    Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"]).write_text(configuration(database))
    passwords = {name: os.environ[f"MLFLOW_{name.upper()}_PASSWORD"] for name in (ADMIN, WRITER, *READERS)}
    make_users(database, passwords)


if __name__ == "__main__":
    main()
