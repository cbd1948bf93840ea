"""The documentation: its links, its navigation, what it says of commands and settings, and what it is made from."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

import tailrace
from scripts.docs import markdown, pages, reference, site
from tailrace import errors
from tailrace.settings import keys

DOCUMENTS = [*sorted(pages.SOURCES.rglob("*.md")), pages.REPOSITORY / "README.md", pages.REPOSITORY / "CONTRIBUTING.md"]
PLACEHOLDER = re.compile(r"[\[\]]|\.\.\.")


class TestLinksAndNavigation:
    def test_every_link_leads_somewhere_and_every_page_is_in_the_navigation_once(self):
        assert pages.problems() == []

    def test_a_broken_link_is_named_with_its_line(self, tmp_path):
        (tmp_path / "other.md").write_text("# A place\n\n## A place\n")
        page = tmp_path / "page.md"
        page.write_text(
            "[fine](other.md#a-place) [fine](other.md#a-place_1) [elsewhere](https://nowhere.example)\n"
            "`[code](no.md)`\n\n```\n[code](no.md)\n```\n"
            "[gone](gone.md)\n[no heading](other.md#place)\n![gone](gone.svg)\n"
        )
        assert list(pages.link_problems(page, tmp_path)) == [
            "page.md:7: gone.md leads to a file that does not exist.",
            "page.md:8: other.md#place leads to a heading that other.md does not have.",
            "page.md:9: gone.svg leads to a file that does not exist.",
        ]

    def test_a_page_that_the_navigation_has_not_or_twice_is_named(self):
        assert list(pages.navigation_problems(["a.md", "a.md", "gone.md"], ["a.md", "new.md"])) == [
            "docs/new.md is not in the navigation; add it to nav in zensical.toml.",
            "zensical.toml: nav names gone.md, and there is no docs/gone.md.",
            "zensical.toml: nav names a.md more than once.",
        ]

    def test_what_is_wrong_with_a_built_site_is_named(self, tmp_path):
        (tmp_path / "other.html").write_text('<h1 id="here">x</h1>')
        (tmp_path / "index.html").write_text(
            '<link rel="stylesheet" href="site.css"><script src="https://unpkg.com/x.js"></script>'
            '<a href="other.html#here">x</a><a href="https://elsewhere.example">x</a><a href="mailto:x@y">x</a>'
            '<a href="other.html#there">x</a><a href="gone.html">x</a><img src="gone.png"><pre class="mermaid"></pre>'
        )
        (tmp_path / "site.css").write_text("@import '//fonts.example/a.css'; a { background: url(/b.png) }")
        assert site.problems(tmp_path) == [
            "index.html loads https://unpkg.com/x.js from another host.",
            "index.html: the link gone.png leads to a page that does not exist.",
            "index.html loads https://unpkg.com/mermaid from another host.",
            "index.html: the link other.html#there leads to a place that other.html does not have.",
            "index.html: the link gone.html leads to a page that does not exist.",
            "site.css loads //fonts.example/a.css from another host.",
        ]


class TestReference:
    SPEC_PAGE = (pages.SOURCES / "reference" / "spec.md").read_text()

    def test_every_class_that_a_spec_is_written_with_is_on_its_page(self):
        kinds = {name for name in tailrace.__all__ if dataclasses.is_dataclass(getattr(tailrace, name))}
        assert {f"::: tailrace.{name}" for name in kinds} == set(re.findall("^:::.*$", self.SPEC_PAGE, re.MULTILINE))

    @pytest.mark.parametrize("name", sorted(set(tailrace.__all__) - {"__version__", "open_services"}))
    def test_every_field_has_a_docstring(self, name):
        kind = getattr(tailrace, name)
        documented = reference.field_docstrings(kind)
        assert [each.name for each in dataclasses.fields(kind) if not documented.get(each.name, "").endswith(".")] == []

    def test_a_field_stands_there_with_type_default_and_meaning(self):
        page = reference.generated("tailrace.Outcome")
        assert "### Outcome.lag_days { #outcome-lag_days }\n\n`int`, default `1`\n\nIn days, 1 or more:" in page

    def test_every_error_says_what_to_do(self):
        raised = [
            each for each in vars(errors).values() if isinstance(each, type) and each.__module__ == errors.__name__
        ]
        silent = {each.__name__ for each in raised if not reference.meaning_and_advice(each)[1]}
        assert silent == {"TailraceError", "ProblemList"}, "the two are bases that nothing raises"

    def test_settings_are_those_of_their_page(self):
        page = (pages.SOURCES / "settings.md").read_text()
        row = re.compile(r"^\| *(?:`([a-z_.]+)`|never)? *\| `(TAILRACE_\w+)` \|", re.MULTILINE)
        documented = {variable: key for key, variable in row.findall(page)}
        expected = {each.variable: "" if each.secret else each.key for each in keys.every_setting()}
        assert documented == {"TAILRACE_PROJECT": "", "TAILRACE_ENV": "", **expected}


COMMANDS = dict(reference.commands())


class TestCommands:
    def commands_shown(self):
        """Each command of `tailrace` in a fenced block or in inline code, with the page."""
        for file in DOCUMENTS:
            text = file.read_text()
            rows = [row for block in markdown.blocks(text) for row in block.text.replace("\\\n", " ").splitlines()]
            for row in [*rows, *markdown.code_spans(text)]:
                found = re.match(r"\s*(?:\$ |\.venv/bin/)?tailrace ([a-z].*)", row)
                if found and not re.match(r"[a-z]+ = ", found[1]):
                    yield file.relative_to(pages.REPOSITORY), found[1]

    def test_every_command_and_option_shown_exists(self):
        wrong = []
        shown = list(self.commands_shown())
        for page, row in shown:
            words = shlex.split(re.split(r"\s{3,}|[;&|]", PLACEHOLDER.sub(" ", row), maxsplit=1)[0].replace("'", ""))
            name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
            if name is None and any(each.startswith(f"{words[0]} ") for each in COMMANDS) and len(words) == 1:
                continue  # a group of commands
            if name is None:
                wrong.append(f"{page}: there is no command tailrace {row}")
                continue
            known = reference.options(COMMANDS[name]) | {"--help"}
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            wrong += [f"{page}: tailrace {name} has no option {each}" for each in options if each not in known]
        assert wrong == []
        assert len(shown) > 50

    def test_every_target_of_make_shown_exists(self):
        makefiles = [pages.REPOSITORY / "Makefile", pages.REPOSITORY / "tailrace/templates/project/Makefile.jinja"]
        targets = {name for file in makefiles for name in re.findall(r"^([a-z-]+):", file.read_text(), re.MULTILINE)}
        wrong = [
            f"{file.relative_to(pages.REPOSITORY)}: make {name}"
            for file in DOCUMENTS
            for text in [file.read_text()]
            for row in [
                *markdown.code_spans(text),
                *(row for each in markdown.blocks(text) for row in each.text.splitlines()),
            ]
            for name in re.findall(r"^make ([a-z][a-z-]*)", row)
            if name not in targets
        ]
        assert wrong == []
