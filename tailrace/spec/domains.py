"""What a searched parameter may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from low to high, both included."""

    low: int
    """The least value."""
    high: int
    """The greatest value."""
    log: bool = False
    """Whether the logarithm of the values is drawn evenly: for parameters whose size matters, such as 1, 10, 100."""

    def problems(self, where: str) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        yield from _range(where, self)


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high."""

    low: float
    """The least value."""
    high: float
    """The greatest value."""
    log: bool = False
    """Whether the logarithm of the values is drawn evenly: for parameters whose size matters, such as 0.01, 0.1, 1."""

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
    """The values to choose from."""

    def problems(self, where: str) -> Iterator[str]:
        """A sentence for each thing that is wrong."""
        if not self.options:
            yield f"{where} has no options."


Domain = IntRange | FloatRange | Choice
