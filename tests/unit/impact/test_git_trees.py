"""The two sides of an edit in git: which revision is the base, and what differs from it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tailrace.errors import BadInput
from tailrace.impact.git_trees import Repository


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A project in a folder of a repository, with one commit on main."""
    project = tmp_path / "here" / "project"
    (project / "dbt").mkdir(parents=True)
    (project / "dbt" / "a.sql").write_text("select 1")
    (project / "b.txt").write_text("b")
    git(tmp_path / "here", "init", "-q", "-b", "main")
    git(tmp_path / "here", "add", ".")
    git(tmp_path / "here", "commit", "-qm", "first")
    return Repository(project)


def test_a_dirty_tree_is_compared_with_head(repository):
    (repository.folder / "dbt" / "new name.sql").write_text("select 2")
    (repository.folder / "b.txt").unlink()
    base = repository.base()
    assert base.words.startswith("HEAD, since there are edits")
    assert repository.changed(base) == ("b.txt", "dbt/new name.sql")
    assert repository.text(base, "b.txt") == "b" and repository.text(base, "dbt/new name.sql") is None


def test_a_clean_branch_is_compared_with_where_it_left_main(repository):
    main = repository.base("main").commit
    git(repository.folder, "switch", "-qc", "edit")
    (repository.folder / "dbt" / "a.sql").write_text("select 3")
    git(repository.folder, "commit", "-qam", "edit")
    base = repository.base()
    assert (base.commit, base.words) == (main, "where this branch left main")
    assert repository.changed(base) == ("dbt/a.sql",)


def test_the_base_is_checked_out_into_a_folder_that_goes_away(repository):
    (repository.folder / "dbt" / "a.sql").write_text("select 3")
    with repository.checked_out(repository.base()) as folder:
        assert (folder / "dbt" / "a.sql").read_text() == "select 1" and (folder / "b.txt").exists()
    assert not folder.exists()
    assert repository.changed(repository.base()) == ("dbt/a.sql",)


def test_what_cannot_be_a_base_is_one_sentence(repository, tmp_path):
    git(repository.folder, "branch", "edits")
    for revision, said in (("edit", "Did you mean 'edits'?"), ("--all", "no git revision '--all'")):
        with pytest.raises(BadInput) as raised:
            repository.base(revision)
        assert said in str(raised.value)
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(BadInput, match="in no git repository"):
        Repository(outside)
    git(outside, "init", "-q")
    with pytest.raises(BadInput, match="has no commit yet"):
        Repository(outside).base()
