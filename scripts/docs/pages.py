"""The site's pages: those of docs/, with what is generated, with drawings inside, and without links out of docs/."""

from __future__ import annotations

import functools
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.docs import markdown, reference

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = REPOSITORY / "docs"
CONFIGURATION = REPOSITORY / "zensical.toml"
DECISIONS = "adr/README.md"
"""The page whose place in the navigation the decisions have too; zensical.toml does not name them one by one."""
_GENERATED = re.compile(r"^::: (\S+)$", re.MULTILINE)
_DRAWING = re.compile(r"^!\[([^\]]*)\]\((\S+\.svg)\)$", re.MULTILINE)


def write(folder: Path) -> None:
    """Write the site's configuration into a folder, and its pages into `pages` there."""
    pages = folder / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for file in sorted(SOURCES.rglob("*")):
        target = pages / file.relative_to(SOURCES)
        if file.suffix == ".md":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(prepared(file))
        elif file.suffix in (".svg", ".css"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    decisions = ", ".join(f'"{page}"' for page in [DECISIONS, *_decisions()])
    (folder / "zensical.toml").write_text(CONFIGURATION.read_text().replace(f'"{DECISIONS}"', decisions))


def whole(file: Path) -> str:
    """A page with what is generated in it."""
    return _GENERATED.sub(lambda found: reference.generated(found[1]), file.read_text())


def prepared(file: Path) -> str:
    """A page as the site builds it."""
    text = whole(file)
    for link in markdown.links(text):
        path = link.target.partition("#")[0]
        if path and "://" not in path and not (file.parent / path).resolve().is_relative_to(SOURCES):
            text = text.replace(link.whole, link.text)
    return _DRAWING.sub(lambda found: _drawing(file.parent / found[2], found[1]), text)


def _drawing(file: Path, description: str) -> str:
    """A drawing inside its page, where its lines and letters have the colour of the page's text."""
    svg = re.sub(r"\n\s*\n", "\n", file.read_text().strip())
    return f'<figure class="drawing" role="img" aria-label="{description}">\n{svg}\n</figure>'


def _decisions() -> list[str]:
    return sorted(f"adr/{file.name}" for file in (SOURCES / "adr").glob("0*.md"))


def in_navigation(item: Any = None) -> Iterator[str]:
    """The pages that the navigation names, in its order."""
    if item is None:
        item = tomllib.loads(CONFIGURATION.read_text())["project"]["nav"]
    if isinstance(item, str):
        yield item
        if item == DECISIONS:
            yield from _decisions()
    else:
        for each in item.values() if isinstance(item, dict) else item:
            yield from in_navigation(each)


def problems() -> list[str]:
    """A sentence for each link that leads nowhere, and for each page that the navigation has not once."""
    there = [str(file.relative_to(SOURCES)) for file in SOURCES.rglob("*.md")]
    found = [*navigation_problems(list(in_navigation()), there)]
    for file in [*sorted(SOURCES.rglob("*.md")), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md"]:
        found += link_problems(file, REPOSITORY)
    return found


def navigation_problems(named: Sequence[str], there: Iterable[str]) -> Iterator[str]:
    """A sentence for each page that is not in the navigation once, and for each name there that is no page."""
    pages = set(there)
    for page in sorted(pages - set(named)):
        yield f"docs/{page} is not in the navigation; add it to nav in zensical.toml."
    for page in sorted(set(named) - pages):
        yield f"zensical.toml: nav names {page}, and there is no docs/{page}."
    for page in sorted({page for page in named if named.count(page) > 1}):
        yield f"zensical.toml: nav names {page} more than once."


def link_problems(file: Path, root: Path) -> Iterator[str]:
    """A sentence for each link of a Markdown file to a file or a heading that does not exist."""
    text = file.read_text()
    for link in markdown.links(text):
        path, _, anchor = link.target.partition("#")
        where = f"{file.relative_to(root)}:{link.line}: {link.target}"
        target = (file.parent / path).resolve() if path else file
        if re.match(r"[a-z]+:", link.target):
            continue
        if not target.exists():
            yield f"{where} leads to a file that does not exist."
        elif anchor and target.suffix == ".md" and anchor not in _anchors(target):
            yield f"{where} leads to a heading that {target.name} does not have."


@functools.cache
def _anchors(file: Path) -> set[str]:
    return markdown.anchors(whole(file))
