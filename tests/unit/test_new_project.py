"""`tailrace init`: a project that is ready, or a sentence for each reason why there is none, and nothing written."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from zoneinfo import ZoneInfo

import pytest
import yaml
from typer.testing import CliRunner

from tailrace import settings
from tailrace.commands import main
from tailrace.errors import BadInput
from tailrace.operations import new_project
from tailrace.spec import registry

SHAPES = {
    "plain": [],
    "landing": ["--landing", "--zone", "Asia/Tokyo"],
    "empty": ["--no-example"],
    "dbt": ["--dbt-project", "theirs", "--target", "nightly"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder that is in no project, with a dbt project of somebody else."""
    monkeypatch.delenv("TAILRACE_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "dbt_project.yml").touch()
    return tmp_path


def init(*arguments, **options):
    return CliRunner().invoke(main.app, ["init", *arguments], **options)


def refused(*arguments):
    error = init(*arguments).exception
    assert isinstance(error, BadInput)
    heading, *problems = str(error).splitlines()
    assert heading == "The project cannot be made:"
    assert all(problem.endswith((".", "?")) for problem in problems)
    return "\n".join(problems)


@pytest.fixture(params=SHAPES)
def shape(request):
    return request.param


@pytest.fixture
def project(folder, shape, monkeypatch):
    done = init("shop", *SHAPES[shape])
    assert done.exit_code == 0, done.output
    monkeypatch.setenv("TAILRACE_PROJECT", str(folder / "shop"))
    return folder / "shop"


def test_every_file_is_complete(project, shape):
    for path in project.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert text.endswith("\n") and not text.endswith("\n\n"), path
            assert not re.search(r"\[\[\w|<%", text), path
            assert "\n\n\n" not in text or path.suffix == ".py", path
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert {"tailrace.toml", "Makefile", ".gitignore", ".github/workflows/check.yml", "dags/tailrace.py"} <= files
    assert ("dbt/dbt_project.yml" in files) == (shape != "dbt")
    assert ("pipelines/example.py" in files) == (shape in ("plain", "landing"))
    assert ("pipelines/sources/example.py" in files) == (shape == "landing")
    assert (project.stat().st_mode & 0o777) == 0o777 & ~_umask(), "a folder like any other"


def test_its_ci_comments_what_an_edit_does_to_the_predictions(project):
    workflow = yaml.safe_load((project / ".github/workflows/check.yml").read_text())
    steps = workflow["jobs"]["review"]["steps"]
    said = [step["run"] for step in steps if "run" in step]
    assert "make review BASE=origin/${{ github.base_ref }} COMMENT=review.md" in said
    assert said[-2].startswith("gh pr comment") and steps[-2]["if"].startswith("always()")
    assert (said[-1], steps[-1]["if"]) == ("make prove BASE=origin/${{ github.base_ref }}", "always()")
    gitlab = yaml.safe_load((project / ".gitlab-ci.yml").read_text())
    assert gitlab["review"]["rules"] == gitlab["prove"]["rules"]
    assert gitlab["review"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert "tailrace diff $(if $(BASE),--base $(BASE))" in (project / "Makefile").read_text()


def _umask():
    os.umask(was := os.umask(0))
    return was


def test_it_can_be_read_in_every_environment(project, monkeypatch, shape):
    homes = set()
    for environment in ("dev", "staging", "prod"):
        monkeypatch.setenv("TAILRACE_ENV", environment)
        homes.add(settings.load().home.relative_to(project).as_posix())
    assert homes == {".tailrace/dev", ".tailrace/staging", ".tailrace/prod"}
    assert settings.load().dbt.target == {"landing": "", "dbt": "nightly"}.get(shape, "prod")
    assert settings.load().zone == ("Asia/Tokyo" if shape == "landing" else "UTC")
    assert [spec.name for spec in registry.check()] == (["example"] if shape in ("plain", "landing") else [])


def test_what_is_written_for_other_programs_is_in_their_form(project):
    for path in [*project.rglob("*.y*ml"), *project.glob(".*.yaml")]:
        assert yaml.safe_load(path.read_text()), path
    for path in project.rglob("*.json"):
        assert json.loads(path.read_text())["expectations"], path
    needs = tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any(need.startswith("tailrace[ui]>=") for need in needs)


def test_no_secret_is_in_a_file_and_make_writes_each_one(project):
    compose = (project / "docker-compose.yaml").read_text()
    named = set(re.findall(r"\$\{(\w+):\?run make secrets\}", compose))
    assert named == {"DATABASE_PASSWORD", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_FERNET_KEY"}
    assert all(name in (project / "Makefile").read_text() for name in named)
    assert ".env" in (project / ".gitignore").read_text().splitlines()
    assert not (project / ".env").exists()


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_the_examples_rows_are_known_in_time_and_can_be_learned_from(zone):
    rows = new_project.example_rows(ZoneInfo(zone))
    by_day = defaultdict(set)
    for row in rows:
        by_day[row["ds"]].add(row["bought"])
        assert row["visited_at"] < row["decided_at"]
    assert len(rows) == 60
    assert all(labels == {"true", "false"} for labels in by_day.values())
    assert rows == new_project.example_rows(ZoneInfo(zone))


def test_an_existing_dbt_project_is_named_from_the_project(folder, project, shape):
    text = tomllib.loads((project / "tailrace.toml").read_text())
    expected = {"landing": None, "dbt": {"project": "../theirs", "target": "nightly"}}
    assert text.get("dbt") == expected.get(shape, {"target": "dev"})
    if shape == "dbt":
        assert settings.load().dbt_project == folder / "theirs"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-shop", "Did you mean 'my_shop'?"),
        ("Shop", "Did you mean 'shop'?"),
        ("1shop", "it must be a Python name in small letters"),
        ("", "it must be a Python name in small letters"),
        ("café", "it must be a Python name in small letters"),
        ("class", "no word that Python reserves"),
        ("../shop", "Did you mean 'shop'?"),
        ("dbt", "which a package that the project needs has; choose another."),
        ("a" * 41, "The name has 41 letters; use at most 40."),
    ],
)
def test_a_name_that_is_none_is_refused(folder, name, said):
    assert said in refused(name, "--folder", "new")
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_nothing_that_exists_is_overwritten(folder):
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "file").write_text("mine")
    (folder / "link").symlink_to(folder / "full")
    before = sorted(folder.rglob("*"))
    assert f"The folder {folder}/full is not empty (mine.txt); nothing there is overwritten." in refused("full")
    assert f"{folder}/file exists, and is no folder" in refused("file")
    assert f"{folder}/link exists, and is no folder" in refused("link")
    assert f"There is no folder {folder}/no to put the project into." in refused("shop", "--folder", "no/shop")
    assert sorted(folder.rglob("*")) == before
    (folder / "shop").mkdir()
    assert init("shop").exit_code == 0, "an empty folder is taken"
    assert "projects must not be nested" in refused("inner", "--folder", "shop/inner")


def test_all_mistakes_are_said_at_once(folder):
    found = refused("my-shop", "--zone", "Europe/Berln", "--dbt-project", "thiers", "--landing", "--folder", "theirs")
    assert [problem.split(";")[0].split(",")[0].removeprefix("  - ") for problem in found.splitlines()] == [
        "The name is 'my-shop'",
        f"The folder {folder}/theirs is not empty (dbt_project.yml)",
        "The time zone is 'Europe/Berln'",
        "--dbt-project is 'thiers'",
        "--landing needs a dbt project of the new project's own",
    ]
    assert "--target is 'prod', a target of an existing dbt project" in refused("shop", "--target", "prod")
    assert "leave --no-example out" in refused("shop", "--landing", "--no-example")


def test_a_failure_in_the_middle_leaves_nothing(folder, monkeypatch):
    """Planted: writing into the final folder."""

    def fail(new, root):
        yield "tailrace.toml", ""
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr(new_project, "rendered", fail)
    with pytest.raises(OSError, match="No space"):
        new_project.write(new_project.NewProject(name="shop", folder=folder / "shop"))
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_nothing_is_asked_without_a_terminal(folder):
    done = init("shop", "--json", input="")
    assert done.exit_code == 0
    assert {"file": "tailrace.toml"} in json.loads(done.stdout)["rows"]


def test_a_terminal_is_asked_for_what_no_option_says(folder):
    """In a pseudo-terminal, as a person has it."""
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-c", "from tailrace.commands.main import call; call(['init', 'shop'])"]
    asked = subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    answers = {"Time zone of the days": "Europe/Rome", "Folder of the dbt project": "", "Land files of a source": "y"}
    for question, answer in answers.items():
        while not re.search(question.encode() + rb"[^\n]*: $", said):
            said += os.read(terminal, 1024)
        os.write(terminal, f"{answer}\n".encode())
    with pytest.raises(OSError, match="Input/output"):
        while said := os.read(terminal, 1024):
            pass
    assert asked.wait() == 0, said
    os.close(terminal)
    text = tomllib.loads((folder / "shop" / "tailrace.toml").read_text())
    assert text["zone"] == "Europe/Rome"
    assert text["sources"] == ["pipelines.sources.example:example"]


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ("", ["tailrace[postgres]>="]),
        ("snow", ["tailrace[snowflake]>="]),
        ("other", ["dbt-oracle"]),
        ("local", []),
        ("templated", []),
    ],
)
def test_the_adapter_of_an_existing_dbt_project_is_installed_too(folder, target, named):
    (folder / "theirs" / "dbt_project.yml").write_text("{name: theirs, profile: theirs}")
    (folder / "theirs" / "profiles.yml").write_text(
        "theirs: {target: dev, outputs: {dev: {type: postgres}, snow: {type: snowflake}, other: {type: oracle}, "
        "local: {type: duckdb}, templated: {type: \"{{ env_var('KIND') }}\"}}}"
    )
    assert init("made", "--dbt-project", "theirs", *(["--target", target] if target else [])).exit_code == 0
    project = tomllib.loads((folder / "made" / "pyproject.toml").read_text())["project"]
    _, *adapters = project["dependencies"]
    assert [need.rstrip("0123456789.") for need in adapters] == named
    assert "is not part of this repository" in (folder / "made" / ".github/workflows/check.yml").read_text()
