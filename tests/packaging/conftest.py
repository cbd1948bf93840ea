"""One wheel for all tests."""

from pathlib import Path

import pytest

from tests.packaging import installing


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installing.build_wheel(tmp_path_factory.mktemp("dist"))
