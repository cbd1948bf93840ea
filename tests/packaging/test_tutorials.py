"""The tutorials, as a reader would follow them: their files are written and their commands run, with the wheel."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.docs import markdown, pages
from tests.packaging.installing import Installed, borrowing_environment
from tests.postgres import Database, Server

pytestmark = pytest.mark.wheel

EDIT = """python - "$root/{title}" <<'END OF EDIT'
import pathlib, sys
rows = {rows!r}.splitlines()
before, after = ("\\n".join(row[1:] for row in rows if row[0] in " " + sign) for sign in "-+")
file = pathlib.Path(sys.argv[1])
assert file.read_text().count(before) == 1, f"{{file}} has not once:\\n{{before}}"
file.write_text(file.read_text().replace(before, after))
END OF EDIT"""


def script(page: str) -> str:
    """What a reader does: run the blocks of `bash`, write those that have a title, and edit as those of `diff` say."""
    parts = []
    for block in markdown.blocks((pages.SOURCES / page).read_text()):
        file = f'"$root/{block.title}"'
        if block.language == "diff":
            parts.append(EDIT.format(title=block.title, rows=block.text))
        elif block.title:
            parts += [f'mkdir -p "$(dirname {file})"', f"cat > {file} <<'END OF FILE'\n{block.text}END OF FILE"]
        elif block.language == "bash":
            parts.append(block.text)
    return "\n".join(parts)


def follow(pages: tuple[str, ...], installed: Installed, folder: Path, **variables: str) -> str:
    """What the commands of these pages print, each page begun in the folder."""
    program = "\n".join(['set -euo pipefail; root="$PWD"', *(f'cd "$root"\n{script(page)}' for page in pages)])
    environment = installed.environment(**variables)
    # programs that the wheel does not bring, such as dbt, are those of the present environment
    own, _, others = environment["PATH"].partition(os.pathsep)
    environment["PATH"] = os.pathsep.join([own, sysconfig.get_path("scripts"), others])
    done = subprocess.run(["bash", "-c", program], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return borrowing_environment(tmp_path_factory.mktemp("installed") / "venv", wheel)


# A class for each test: pytest-xdist runs classes side by side.
class TestGetStarted:
    def test_a_table_in_duckdb_becomes_predictions(self, installed, tmp_path):
        printed = follow(("get_started.md",), installed, tmp_path)
        assert "promoted" in printed
        assert "published 2026-01-24" in printed


class TestChurn:
    @pytest.fixture
    def database(self) -> Iterator[Database]:
        server = Server()
        server.start()
        yield server.database("company")
        server.remove()

    def test_marts_in_postgres_become_predictions(self, installed, database, tmp_path):
        variables = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(database.port),
            "PGDATABASE": database.name,
            "PGUSER": database.user,
            "PGPASSWORD": database.password,
        }
        printed = follow(("tutorials/churn.md",), installed, tmp_path, **variables)
        assert "promoted" in printed
        assert "published 2026-02-25" in printed


class TestNumbers:
    def test_a_regression_and_then_a_notebook(self, installed, tmp_path):
        printed = follow(("tutorials/regression.md", "tutorials/notebook.md"), installed, tmp_path)
        assert "better than that of the baseline units_last_week" in printed
        assert "coverage" in printed
        assert "mean absolute error:" in printed
        assert "notebook: complete" in printed
