"""New files: all of them, or none."""

from __future__ import annotations

import pytest

from tailrace.errors import BadInput
from tailrace.scaffold import writing


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_all_files_are_written(tmp_path):
    writing.write(tmp_path, {"a/b/one.py": "1\n", "two.json": "Zoë\n"})
    assert (tmp_path / "a/b/one.py").read_text() == "1\n"
    assert (tmp_path / "two.json").read_text(encoding="utf-8") == "Zoë\n"


def test_a_file_that_exists_is_not_touched(tmp_path):
    (tmp_path / "two.json").write_text("mine")
    with pytest.raises(BadInput, match=r"these files exist: two\.json"):
        writing.write(tmp_path, {"a/one.py": "1", "two.json": "2"})
    assert files(tmp_path) == {"two.json"}
    assert (tmp_path / "two.json").read_text() == "mine"


def test_a_link_that_leads_nowhere_exists_too(tmp_path):
    (tmp_path / "two.json").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="exist"):
        writing.write(tmp_path, {"two.json": "2"})


def test_if_one_cannot_be_written_none_is(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BadInput, match="nothing was written"):
        writing.write(tmp_path, {"new/folder/one.py": "1", "file/two.py": "2"})
    assert files(tmp_path) == {"file"}
    assert not (tmp_path / "new").exists()
