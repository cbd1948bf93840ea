"""All the services of a project together."""

from __future__ import annotations

from typing import Protocol

from tailrace.contracts.engine import Engine
from tailrace.contracts.lake import Lake
from tailrace.contracts.source import LandingZone, Source
from tailrace.contracts.tracker import Tracker
from tailrace.contracts.validator import Validator
from tailrace.contracts.warehouse import Warehouse


class Services(Protocol):
    """What a stage is given to work with."""

    @property
    def source(self) -> Source: ...

    @property
    def landing(self) -> LandingZone: ...

    @property
    def warehouse(self) -> Warehouse: ...

    @property
    def lake(self) -> Lake: ...

    @property
    def engine(self) -> Engine: ...

    @property
    def tracker(self) -> Tracker: ...

    @property
    def validator(self) -> Validator: ...
