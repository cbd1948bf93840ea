"""Settings come from the environment, and what is wrong with it is said at once."""

from __future__ import annotations

import pytest

from pipelines import settings
from pipelines.errors import BadInput, SettingsError
from pipelines.wiring import Wiring


def test_defaults_are_the_embedded_installation(tmp_path):
    loaded = settings.load({"TAILRACE_HOME": str(tmp_path)})
    assert loaded.lake == str(tmp_path / "lake")
    assert loaded.tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert loaded.engine == "local"


def test_every_wrong_variable_is_listed():
    with pytest.raises(SettingsError) as raised:
        settings.load(
            {
                "TAILRACE_LAK": "/lake",
                "TAILRACE_ENGINE": "loca",
                "TAILRACE_JAVA_HOME": "/usr",
                "TAILRACE_SEED": "one",
                "TAILRACE_STORAGE_OPTIONS": "[]",
            }
        )
    text = str(raised.value)
    assert "TAILRACE_LAK is not a setting. Did you mean 'TAILRACE_LAKE'?" in text
    assert "Did you mean 'local'?" in text
    assert len(raised.value.problems) == 5


def test_a_missing_java_is_said_only_where_spark_is_asked_for(tmp_path):
    without_java = {"TAILRACE_HOME": str(tmp_path), "JAVA_HOME": str(tmp_path)}
    assert Wiring(settings.load(without_java)).engine.name == "local"
    with pytest.raises(BadInput, match=r"Spark needs Java 17.*apt-get install"):
        _ = Wiring(settings.load({**without_java, "TAILRACE_ENGINE": "spark"})).engine
