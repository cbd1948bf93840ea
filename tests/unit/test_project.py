"""The project is the folder with tailrace.toml, wherever below it one works."""

from __future__ import annotations

import sys

import pytest

from tailrace import settings
from tailrace.errors import SettingsError
from tailrace.lineage import provenance
from tailrace.spec import registry
from tests.support import new_project


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder outside of any project."""
    monkeypatch.delenv("TAILRACE_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_project_is_found_from_a_folder_below_it(folder, monkeypatch):
    below = folder / "dbt" / "models"
    below.mkdir(parents=True)
    (folder / "tailrace.toml").touch()
    monkeypatch.chdir(below)
    assert settings.find_project() == settings.Project(folder)
    loaded = settings.load({})
    assert (loaded.project.root, loaded.home) == (folder, folder / ".tailrace")
    assert (loaded.dbt_project, loaded.suites) == (folder / "dbt", folder / "expectations")


def test_the_variable_names_a_project_elsewhere(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "tailrace.toml").touch()
    for text in ("mine", str(folder / "mine"), "./mine/"):
        assert settings.find_project({"TAILRACE_PROJECT": text}).root == folder / "mine"


def test_without_a_project_one_is_asked_for(folder):
    with pytest.raises(SettingsError) as refused:
        settings.load({"TAILRACE_SEED": "one"})
    assert [problem.partition(";")[0].partition(":")[0] for problem in refused.value.problems] == [
        f"{folder} is in no project",
        "TAILRACE_SEED is 'one'",
    ]
    with pytest.raises(SettingsError, match=r"a folder above it has a tailrace\.toml.*name it in TAILRACE_PROJECT"):
        registry.names()
    assert provenance.code()["git_commit"] == provenance.code()["lock_digest"] == "unknown"


def test_a_variable_that_names_no_project_is_said(folder):
    for text in ("nowhere", "~nobody-of-this-name/x", "a" * 5000):
        with pytest.raises(SettingsError, match=f"TAILRACE_PROJECT is '{text}'") as refused:
            settings.load({"TAILRACE_PROJECT": text})
        assert len(refused.value.problems) == 1


def test_a_project_within_another_is_refused_unless_it_is_named(folder, monkeypatch):
    inner = folder / "copies" / "inner"
    inner.mkdir(parents=True)
    for project in (folder, inner):
        (project / "tailrace.toml").touch()
    monkeypatch.chdir(inner)
    with pytest.raises(SettingsError, match=f"nested: {folder}/tailrace.toml and {inner}/tailrace.toml. Move one"):
        settings.find_project()
    assert settings.find_project({"TAILRACE_PROJECT": str(inner)}).root == inner


def test_a_working_folder_that_is_gone_is_said(folder, monkeypatch):
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    with pytest.raises(SettingsError, match="The working folder cannot be read"):
        settings.find_project()
    monkeypatch.chdir(folder)


def test_a_pipeline_imports_from_its_own_project(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    project = new_project(tmp_path, monkeypatch)
    (project.pipelines / "_mine.py").write_text("WORDS = 'Whose are these?'")
    (project.pipelines / "churn.py").write_text(
        "from dataclasses import replace\nfrom pipelines._mine import WORDS\n"
        "from pipelines.flight_delay import SPEC as FLIGHTS\n"
        "SPEC = replace(FLIGHTS, name='churn', description=WORDS)"
    )
    assert registry.get("churn").description == "Whose are these?"


def test_help_is_shown_and_the_library_imported_outside_of_a_project(folder):
    from typer.testing import CliRunner

    from tailrace.commands import main

    assert CliRunner().invoke(main.app, ["--help"]).exit_code == 0
    assert isinstance(CliRunner().invoke(main.app, ["check"]).exception, SettingsError)
