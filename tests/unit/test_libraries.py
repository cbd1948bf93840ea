"""Versions of libraries, whichever package provides them."""

from importlib.metadata import PackageNotFoundError

import pytest

from tailrace.lineage import libraries
from tailrace.lineage.libraries import installed_version, installed_versions


def test_xgboost_has_a_version_whichever_of_its_packages_is_installed():
    import xgboost

    assert installed_version("xgboost") == xgboost.__version__


def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(PackageNotFoundError, match="no_such_library"):
        installed_version("no_such_library")


def test_a_library_of_an_extra_has_a_version_where_it_is_installed(hide_version):
    assert set(installed_versions("numpy")) == {"numpy", "lightgbm"}
    hide_version("lightgbm")
    assert set(installed_versions("numpy")) == {"numpy"}


@pytest.fixture
def hide_version(monkeypatch):
    """Packages that are not installed, as far as their versions tell."""

    def hide(package):
        monkeypatch.setattr(libraries, "PACKAGES", {**libraries.PACKAGES, package: ()})

    return hide
