"""One address, user and password of Airflow: logging in, trying again, and its errors as sentences."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_delay, wait_fixed

from tailrace.errors import BadInput, Unavailable, cause_of
from tailrace.settings import Settings

log = logging.getLogger("tailrace")

LOGIN = "/auth/token"
BUSY = (404, 409, 503)
"""Temporary answers: a DAG is not parsed yet, a backfill is closing, the database is locked."""
PAUSE, PATIENCE = wait_fixed(0.5), stop_after_delay(90)
FIRST_PATIENCE = stop_after_delay(4)
"""For an Airflow that has not answered yet: it is more likely down, or its address wrong, than restarting."""
CONNECT_SECONDS = 5
ANSWER_SECONDS = 300
"""A backfill creates all of its runs before it answers."""


def login(settings: Settings) -> tuple[str, str, str]:
    """Airflow's address, user and password: from the settings, else from the Airflow of this home. Raises BadInput."""
    if settings.airflow_url:
        return settings.airflow_url, settings.airflow_user, settings.airflow_password
    try:
        written = json.loads(settings.airflow_login.read_text())
        return written["url"], written["user"], written["password"]
    except (OSError, ValueError, LookupError) as error:
        raise BadInput(
            f"No Airflow runs on {settings.home}: start it with `make up`, or name one with "
            "TAILRACE_AIRFLOW_URL, TAILRACE_AIRFLOW_USER and TAILRACE_AIRFLOW_PASSWORD."
        ) from error


class Login(httpx.Auth):
    """Gets a token from Airflow, and a new one when it expires: a long backfill outlives one."""

    requires_response_body = True

    def __init__(self, url: str, user: str, password: str) -> None:
        self._token_request = httpx.Request("POST", f"{url}{LOGIN}", json={"username": user, "password": password})
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See httpx.Auth."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != 401:
                return
        given = yield self._token_request
        if given.is_success:
            self._token = given.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            yield request


def _no_login(error: httpx.HTTPStatusError) -> bool:
    """Whether a server other than Airflow's answers."""
    return error.response.status_code == 404 and error.request.url.path.endswith(LOGIN)


def _busy(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in BUSY and not _no_login(error)


def _temporary(error: BaseException) -> bool:
    # 500 is what the api-server answers while its database is restarted.
    failed = isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 500
    return failed or _busy(error) or isinstance(error, httpx.TransportError)


def _stop_retrying(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    silent = isinstance(error, httpx.TransportError) and not state.args[0].answered
    return (FIRST_PATIENCE if silent else PATIENCE)(state)


def _log_first_retry(state: RetryCallState) -> None:
    """Log that this waits for an Airflow which has answered before."""
    error = state.outcome.exception() if state.outcome else None
    if state.attempt_number == 1 and isinstance(error, httpx.TransportError) and state.args[0].answered:
        log.info("Airflow does not answer (%s); trying again for up to 90 seconds.", cause_of(error))


class Connection:
    """An HTTP client that logs in. Raises Unavailable and BadInput, with the reason that Airflow gives."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user = url, user
        self.answered = False
        """Whether Airflow has answered since this client was made."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(base_url=f"{url}/api/v2", auth=Login(url, user, password), timeout=timeout)

    def get(self, path: str) -> Any:
        """What the API answers, as JSON."""
        with self._errors_as_sentences(f"Reading {path.partition('?')[0]}"):
            return self._get(path)

    def page(self, path: str) -> str:
        """A page of the plugin, or of Airflow itself, as HTML."""
        with self._errors_as_sentences(f"Reading {path.partition('?')[0]}"):
            return self._client.get(f"{self.url}{path}").raise_for_status().text

    @retry(
        retry=retry_if_exception(_temporary),
        wait=PAUSE,
        stop=_stop_retrying,
        before_sleep=_log_first_retry,
        reraise=True,
    )
    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        self.answered = True
        return answer.raise_for_status().json()

    # Without an answer it is unknown whether the run was started, so that is not retried.
    @retry(retry=retry_if_exception(_busy), wait=PAUSE, stop=PATIENCE, reraise=True)
    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()

    @contextmanager
    def _errors_as_sentences(self, what: str) -> Iterator[None]:
        """Turn what goes wrong with a call into one sentence that begins with `what`."""
        try:
            yield
        except httpx.TransportError as error:
            raise Unavailable(
                f"{what}: Airflow does not answer at {self.url} ({cause_of(error)}). "
                "Start it, or correct TAILRACE_AIRFLOW_URL."
            ) from error
        except httpx.HTTPStatusError as error:
            self._refused(what, error)
        except (ValueError, LookupError) as error:
            raise self._another_server(what) from error

    def _another_server(self, what: str) -> BadInput:
        return BadInput(f"{what}: what answers at {self.url} is not Airflow's API. Correct TAILRACE_AIRFLOW_URL.")

    def _refused(self, what: str, error: httpx.HTTPStatusError) -> NoReturn:
        status = error.response.status_code
        if _no_login(error):
            raise self._another_server(what) from error
        if status >= 500:
            raise Unavailable(
                f"{what}: Airflow at {self.url} answers {status}; its api-server's log says why."
            ) from error
        if status == 401 or error.request.url.path.endswith(LOGIN):
            raise BadInput(
                f"Airflow at {self.url} does not let {self.user!r} in; check TAILRACE_AIRFLOW_USER and "
                "TAILRACE_AIRFLOW_PASSWORD."
            ) from error
        if status == 403:
            raise BadInput(f"{what}: the user {self.user!r} has no right to it in Airflow.") from error
        try:
            detail = error.response.json()["detail"]
        except (ValueError, LookupError):
            detail = error.response.reason_phrase
        raise BadInput(f"{what} is refused by Airflow: {detail}") from error
