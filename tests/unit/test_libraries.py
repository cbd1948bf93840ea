"""Versions of libraries, whichever package provides them."""

from importlib.metadata import PackageNotFoundError

import pytest

from tailrace.lineage.libraries import installed_version


def test_xgboost_has_a_version_whichever_of_its_packages_is_installed():
    import xgboost

    assert installed_version("xgboost") == xgboost.__version__


def test_a_library_that_is_not_installed_is_named():
    with pytest.raises(PackageNotFoundError, match="no_such_library"):
        installed_version("no_such_library")
