"""What is checked on the site as it was built: every link leads somewhere, and nothing comes from another host."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FROM_ELSEWHERE = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")]+)")
_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""The attribute by which each element loads something."""
_PLAIN_LINKS = {"canonical", "alternate", "next", "prev", "license"}
"""What a <link> may be to without loading it."""


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.names |= {attributes[each] for each in ("id", "name") if each in attributes}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag in _LOADED and attributes.get(_LOADED[tag]):
            self.loads.append(attributes[_LOADED[tag]])
        if tag == "link" and not _PLAIN_LINKS & set(attributes.get("rel", "").split()):
            self.loads.append(attributes.get("href", ""))
        if "mermaid" in attributes.get("class", "").split():
            self.loads.append("https://unpkg.com/mermaid")  # the theme loads it for such an element


def problems(folder: Path) -> list[str]:
    """A sentence for each broken link, and for each thing that a page loads from another host."""
    found: list[str] = []
    page = functools.cache(lambda file: _Page(file.read_text()))
    for file in sorted(folder.rglob("*.html")):
        where = file.relative_to(folder)
        # Where the page for missing pages is shown, relative links would lead anywhere; the theme makes them absolute.
        if where.name == "404.html":
            continue
        for address in page(file).loads:
            if _elsewhere(address):
                found.append(f"{where} loads {address} from another host.")
            else:
                found += _broken(folder, file, address, page)
        for address in page(file).links:
            if not _elsewhere(address):
                found += _broken(folder, file, address, page)
    for file in sorted(folder.rglob("*.css")):
        for address in _FROM_ELSEWHERE.findall(file.read_text()):
            found.append(f"{file.relative_to(folder)} loads {address} from another host.")
    return list(dict.fromkeys(found))


def _elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _broken(folder: Path, file: Path, address: str, page: functools._lru_cache_wrapper[_Page]) -> Iterator[str]:
    parts = urlsplit(address)
    if parts.scheme == "data":
        return
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target /= "index.html"
    where = f"{file.relative_to(folder)}: the link {address}"
    if not target.is_file() or not target.is_relative_to(folder.resolve()):
        yield f"{where} leads to a page that does not exist."
    elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in page(target).names:
        yield f"{where} leads to a place that {target.relative_to(folder.resolve())} does not have."
