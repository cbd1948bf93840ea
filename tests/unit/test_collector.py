"""The collector of cycles is paused, and is as it was before afterwards."""

from __future__ import annotations

import gc

import pytest

from tailrace.operations import collector


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_paused_and_then_as_before(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="a wrong spec"), collector.paused():
            assert not gc.isenabled()
            raise ValueError("a wrong spec")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
