"""The one place where exceptions of MLflow, its database and the network become Tailrace's."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from tailrace.tracking import mlflow_switches  # noqa: F401 - before MLflow is imported

# isort: split
import mlflow.store.db.utils
import requests
import sqlalchemy.exc
from mlflow.exceptions import MlflowException

from tailrace.errors import BadInput, StorageFull, TailraceError, TrackerUnavailable, cause_of

DATABASE_ATTEMPTS = 4
# MLflow has no setting for this one: ten attempts with doubling pauses take almost two minutes.
mlflow.store.db.utils.MAX_RETRY_COUNT = DATABASE_ATTEMPTS

USERNAME = "MLFLOW_TRACKING_USERNAME"
NOT_OURS_TO_RETRY = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "CUSTOMER_UNAUTHORIZED",
}
"""Error codes of MLflow for a request that cannot succeed without changes."""


class HasUri(Protocol):
    uri: str


Self = TypeVar("Self", bound=HasUri)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def masked(uri: str) -> str:
    """The URI with its password replaced by ***."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def mlflow_call(
    what: str,
) -> Callable[[Callable[Concatenate[Self, Arguments], Result]], Callable[Concatenate[Self, Arguments], Result]]:
    """Decorate a tracker's method; error messages say 'could not <what>'.

    Raises TrackerUnavailable, StorageFull or BadInput in place of what MLflow, SQLAlchemy or the
    network raise.
    """

    def decorate(method: Callable[Concatenate[Self, Arguments], Result]) -> Callable[..., Result]:
        @functools.wraps(method)
        def calling(self: Self, *args: Any, **kwargs: Any) -> Result:
            try:
                return method(self, *args, **kwargs)
            except TailraceError:
                raise
            except (
                MlflowException,
                requests.RequestException,
                sqlalchemy.exc.SQLAlchemyError,
                OSError,
            ) as error:
                # Libraries print the URI that they received, so a chained cause would reveal the password.
                raise _translate(error, what, self.uri) from (None if urlsplit(self.uri).password else error)

        return calling

    return decorate


def _status(error: Exception) -> int | None:
    """The HTTP status that a server answered with, if it answered."""
    if isinstance(error, MlflowException):
        return int(error.get_http_status_code())
    answer = getattr(error, "response", None)
    return None if answer is None else int(answer.status_code)


def _translate(error: Exception, what: str, uri: str) -> TailraceError:
    cause = cause_of(error)
    password = urlsplit(uri).password
    if password:
        cause = cause.replace(password, "***")
    failed = f"MLflow at {masked(uri)} could not {what}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"{failed}: its artefact storage is full. Free some space and run the stage again.")
    if (status := _status(error)) in (401, 403):
        who = f"the user {os.environ[USERNAME]!r}" if os.environ.get(USERNAME) else "a request without a user"
        return BadInput(
            f"{failed}: it refused {who} (HTTP {status}). {cause} "
            f"Set {USERNAME} and MLFLOW_TRACKING_PASSWORD to a user who may do this."
        )
    if isinstance(error, MlflowException) and error.error_code in NOT_OURS_TO_RETRY:
        return BadInput(f"{failed}: {cause}")
    if "database is locked" in str(error):
        return TrackerUnavailable(
            f"{failed}: another process holds its SQLite database. Run the stage again; "
            "if it happens often, point the tracking URI at an MLflow server."
        )
    return TrackerUnavailable(
        f"{failed}: {cause} Check that it runs, that this machine can reach it and that the tracking URI "
        "is right, then run the stage again. What was published before has not changed."
    )
