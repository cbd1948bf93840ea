"""Reads the places that settings name: folders, files, databases and servers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tailrace.errors import did_you_mean
from tailrace.settings.fields import POSTGRES

SQLITE = "sqlite:///"
TRACKING_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
TRACKING_SCHEMES = ("http", "https", *TRACKING_DATABASES, "databricks", "databricks-uc", "uc", "file")
"""What MLflow takes; a database may name its driver, as in postgresql+psycopg2://."""

NOT_IN_PATHS = "#?%*$\\'\"`{}[]"
"""Characters of a path that one of the lake, dbt, DuckDB, MLflow and Great Expectations takes for something else."""
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(\+[A-Za-z0-9_]+)?:")
_OPTIONS = re.compile(r"\w+=[^?&=]*(&\w+=[^?&=]*)*")
"""Options of an SQLite database, such as timeout=30."""


def location(name: str, text: str, problems: list[str]) -> str:
    """A folder as an absolute path, or a URL as it is; what is wrong with it is added to problems."""
    wrong = sorted({letter for letter in text if letter in NOT_IN_PATHS or not letter.isprintable()})
    if wrong:
        problems.append(
            f"{name} is {text!r}; {_listed(wrong)} must not be in a path, since the lake, dbt or MLflow would write "
            "elsewhere or fail. Choose another folder."
        )
        return ""
    if URL.match(text):
        return text
    try:
        return str(Path(os.path.abspath(Path(text).expanduser())))  # noqa: PTH100 - symbolic links stay as they are
    except (RuntimeError, OSError, ValueError) as error:
        problems.append(f"{name} is {text!r}, which is no path: {error}.")
        return ""


def _listed(letters: Sequence[str]) -> str:
    """The letters as a person reads them."""
    return " and ".join(letter if letter.isprintable() else repr(letter) for letter in letters)


def tracking_uri(name: str, text: str, problems: list[str]) -> str:
    """MLflow's server or database; an unknown scheme or a wrong path of an SQLite file is added to problems."""
    scheme = _SCHEME.match(text)
    known = TRACKING_DATABASES if scheme and scheme[2] else TRACKING_SCHEMES
    if scheme and scheme[1] not in known:
        # the text itself is not shown: it may hold a password
        problems.append(
            f"{name} has the scheme {scheme[0][:-1]!r}, which MLflow does not know; it must be one of "
            f"{', '.join(known)}.{did_you_mean(scheme[1].lower(), known)}"
        )
    file, options = sqlite_file(text)
    no_options = options and not _OPTIONS.fullmatch(options)
    location(name, f"{file}?{options}" if no_options else file, problems)
    return text


def sqlite_file(uri: str) -> tuple[str, str]:
    """File and options of an SQLite database, each empty if there is none."""
    scheme, _, rest = uri.partition(":///")
    file, _, options = rest.partition("?") if scheme.split("+")[0] == "sqlite" else ("", "", "")
    return file, options


def server(name: str, text: str, problems: list[str]) -> str:
    """The address of a server without the last slash; empty if none is given."""
    text = text.rstrip("/")
    if text and not _is_address(text):
        problems.append(f"{name} is {text!r}; it must be an address such as http://localhost:8080.")
    return text


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises ValueError if it is none
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and text.isprintable() and " " not in text


def warehouse(name: str, text: str, problems: list[str]) -> str:
    """The DuckDB file as an absolute path, or the Postgres URL; what is wrong with it is added to problems."""
    if not text.startswith(POSTGRES):
        if "://" in text:
            scheme = text.split("://")[0]
            problems.append(f"{name} has the scheme {scheme!r}; it must be a file or a postgresql:// URL.")
            return text
        file = location(name, text, problems)
        if os.path.isdir(file):  # noqa: PTH112 - a name that is too long is no folder, and no error
            problems.append(f"{name} is {text!r}, which is a folder; it must be a file or a postgresql:// URL.")
        return file
    # the text itself is not shown: it may hold a password
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises ValueError if it is none
        password, database = url.password or parse_qs(url.query).get("password"), url.path.strip("/")
    except ValueError:
        problems.append(f"{name} is not a URL such as postgresql://user@host:5432/warehouse.")
        return ""
    if password:
        problems.append(f"{name} holds a password; it belongs in TAILRACE_WAREHOUSE_PASSWORD.")
    if not url.username or not database:
        problems.append(f"{name} must name user and database, as in postgresql://user@host:5432/warehouse.")
    return text
