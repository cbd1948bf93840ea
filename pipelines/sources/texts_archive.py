"""The archive of the rated texts: the source distribution of vaderSentiment 3.3.2 (MIT licence).

Installing the package does not bring the texts, because its wheel leaves them out. So `make setup` and the image run

    python -m pipelines.sources.texts_archive

which downloads the source distribution from the package registry, checks its SHA-256, and stores it in the Python
environment, beside the installed packages. No task uses the network for it.
"""

from __future__ import annotations

import hashlib
import html
import os
import re
import sys
import sysconfig
import tempfile
from pathlib import Path

import httpx
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from tailrace.errors import NotInstalled, Refused, Unavailable

FILE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_COMMAND = "python -m pipelines.sources.texts_archive"
_INDEX = "https://pypi.org/simple"
_INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
"""The variables by which uv and pip are given a registry other than PyPI."""


def location() -> Path:
    """Where the environment's copy lies."""
    return Path(sysconfig.get_path("data")) / "share" / "tailrace" / FILE


def read(file: Path) -> bytes:
    """The archive's content. Raises NotInstalled if it is absent, Refused if it is another file."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise NotInstalled(
            f"The rated texts are not installed: there is no {file}. Download them with: {_COMMAND}"
        ) from None
    _check(content, str(file))
    return content


def download(file: Path) -> None:
    """Store the archive as `file`, unless it is there. Raises Unavailable, Refused."""
    if file.exists() and _digest(file.read_bytes()) == SHA256:
        return
    content = _from_registry()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
        scratch.write(content)
    Path(scratch.name).chmod(0o644)
    Path(scratch.name).replace(file)


@retry(retry=retry_if_exception_type(Unavailable), stop=stop_after_attempt(3), wait=wait_fixed(2), reraise=True)
def _from_registry() -> bytes:
    page = httpx.URL(f"{_index().rstrip('/')}/vadersentiment/")
    where = page.copy_with(userinfo=b"")
    try:
        with httpx.Client(follow_redirects=True, timeout=60) as client:
            links = client.get(page, headers={"Accept": "text/html"}).raise_for_status()
            link = re.search(rf'href="([^"]*{re.escape(FILE)}[^"]*)"', links.text)
            if not link:
                raise Refused(f"The package registry has no {FILE}: {where} does not list it.")
            # relative to the page, as the registry may be a mirror
            content = client.get(links.url.join(html.unescape(link[1]))).raise_for_status().content
    except httpx.HTTPError as error:
        # the message of a status names the address with its password
        answer = f"HTTP {error.response.status_code}" if isinstance(error, httpx.HTTPStatusError) else str(error)
        raise Unavailable(
            f"{FILE} could not be downloaded from {where} ({answer}). "
            f"Without it the pipeline journal_mood has no texts. Try again with: {_COMMAND}"
        ) from None
    _check(content, f"What {where} gave as {FILE}")
    return content


def _index() -> str:
    chosen = next((value for name in _INDEX_VARIABLES if (value := os.environ.get(name))), _INDEX)
    # uv allows a name before the address: internal=https://...
    return re.sub(r"^[\w.-]+=", "", chosen)


def _check(content: bytes, what: str) -> None:
    if (found := _digest(content)) != SHA256:
        raise Refused(
            f"{what} is not the file that this project expects: its SHA-256 is {found}, not {SHA256}. "
            f"Download it again with: {_COMMAND}"
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Download the archive, and print where it is."""
    try:
        download(location())
    except (Unavailable, Refused) as error:
        sys.exit(str(error))
    print(f"The rated texts are in {location()}")


if __name__ == "__main__":
    main()
