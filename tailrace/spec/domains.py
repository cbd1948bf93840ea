"""What a searched parameter may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from low to high, both included; log draws their logarithm evenly."""

    low: int
    high: int
    log: bool = False

    def problems(self, where: str) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from _range(where, self)


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high; log draws their logarithm evenly."""

    low: float
    high: float
    log: bool = False

    def problems(self, where: str) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from _range(where, self)


def _range(where: str, domain: IntRange | FloatRange) -> Iterator[str]:
    if domain.low >= domain.high:
        yield f"{where} goes from {domain.low} to {domain.high}; low must be less than high."
    if domain.log and domain.low <= 0:
        yield f"{where} is on a logarithmic scale from {domain.low}; low must be more than 0."


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    options: tuple[str | int | float | bool | None, ...]

    def problems(self, where: str) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not self.options:
            yield f"{where} has no options."


Domain = IntRange | FloatRange | Choice
