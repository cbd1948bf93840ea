"""What a Markdown page contains: fenced blocks, links, headings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*(\S*)\s*(.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"(#{1,6})\s+(.+?)(?:\s*\{\s*#([\w.-]+)\s*\})?\s*$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the file name in its title, its text, and the line of its first row."""

    language: str
    title: str
    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link, or a picture: its whole Markdown, its text, its target, and its line."""

    whole: str
    text: str
    target: str
    line: int


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    opened: tuple[str, str, str, int] | None = None
    rows: list[str] = []
    for number, row in enumerate(text.splitlines(), start=1):
        fence = _FENCE.match(row)
        if opened is None and fence:
            opened, rows = (fence[1], fence[2], fence[3], number + 1), []
        elif opened and fence and fence[1].startswith(opened[0]) and not fence[2]:
            title = _TITLE.search(opened[2])
            found.append(
                Block(
                    language=opened[1],
                    title=title[1] if title else "",
                    text="".join(f"{each}\n" for each in rows),
                    line=opened[3],
                )
            )
            opened = None
        else:
            rows.append(row)
    return found


def rows_of_prose(text: str) -> Iterator[tuple[int, str]]:
    """The rows that are in no fenced block, each with its number."""
    inside = ""
    for number, row in enumerate(text.splitlines(), start=1):
        fence = _FENCE.match(row)
        if fence and not inside:
            inside = fence[1]
        elif fence and fence[1].startswith(inside) and not fence[2]:
            inside = ""
        elif not inside:
            yield number, row


def code_spans(text: str) -> list[str]:
    """The inline code of a page, each on one row."""
    prose = "\n".join(row for _, row in rows_of_prose(text))
    return [" ".join(found[2].split()) for found in _CODE.finditer(prose)]


def links(text: str) -> list[Link]:
    """The links and pictures of a page; what looks like one inside code is none."""
    prose = dict(rows_of_prose(text))
    plain = "\n".join(prose.get(number, "") for number in range(1, len(text.splitlines()) + 1))
    hidden = _CODE.sub(lambda found: found[1] + re.sub(r"[^\n]", "x", found[2]) + found[1], plain)
    return [
        Link(
            whole=plain[found.start() : found.end()],
            text=plain[found.start(2) : found.end(2)],
            target=found[3],
            line=plain.count("\n", 0, found.start()) + 1,
        )
        for found in _LINK.finditer(hidden)
    ]


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as the site makes them."""
    found: dict[str, int] = {}
    for _, row in rows_of_prose(text):
        if heading := _HEADING.match(row):
            slug = heading[3] or _slug(heading[2])
            found[slug] = found.get(slug, -1) + 1
    return {f"{slug}_{number}" if number else slug for slug, last in found.items() for number in range(last + 1)}


def _slug(heading: str) -> str:
    """As Python-Markdown's extension toc does it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", heading)
    plain = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
