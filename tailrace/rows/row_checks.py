"""What looks at a table's rows while they pass, and says at their end what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.errors import ContractBroken, KeysRepeated, LookAhead, TailraceError
from tailrace.rows import refusals
from tailrace.spec import PipelineSpec, cutoff

_UTC = pa.timestamp("us", "UTC")


class RowCheck(Protocol):
    """Looks at rows as they pass; says at their end what is wrong with them."""

    def see(self, rows: pa.Table) -> None: ...

    def problems(self) -> Iterable[TailraceError]: ...


@dataclass(frozen=True)
class Known:
    """Problems that the columns alone show."""

    found: tuple[TailraceError, ...]

    def see(self, rows: pa.Table) -> None:
        """Nothing to look at."""

    def problems(self) -> Iterable[TailraceError]:
        return self.found


@dataclass(kw_only=True)
class WrongRows:
    """Counts the rows that `wrong` marks, and keeps the first of them as examples.

    `sentence` makes the error of the first wrong values, such as "-1.0, null", and of a text such as "2 rows{without},
    for example id 4; id 5".
    """

    column: str
    shown: Sequence[str]
    wrong: Callable[[pa.ChunkedArray], pa.ChunkedArray | None]
    sentence: Callable[[str, str], TailraceError]
    without: str = ""
    count: int = 0
    values: list[str] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def see(self, rows: pa.Table) -> None:
        column = rows[self.column]
        wrong = self.wrong(column)
        found = pc.sum(wrong).as_py() if wrong is not None else 0
        if not found:
            return
        if len(self.values) <= refusals.EXAMPLES:
            here = ["null" if value is None else str(value) for value in pc.unique(column.filter(wrong)).to_pylist()]
            self.values = list(dict.fromkeys([*self.values, *here]))[: refusals.EXAMPLES + 1]
        self.count += found
        if lacking := refusals.EXAMPLES - len(self.examples):
            shown = [name for name in self.shown if name in rows.column_names]
            self.examples += rows.select(shown).filter(wrong).slice(0, lacking).to_pylist() if shown else []

    def problems(self) -> Iterator[TailraceError]:
        if self.count:
            yield self.sentence(_named(self.values), f"{_rows(self.count)}{self.without}{_described(self.examples)}")


class Labels:
    """See `Problem.wrong_labels`. Of wrong labels, few are kept: those that the message names."""

    def __init__(self, spec: PipelineSpec, where: str, schema: pa.Schema) -> None:
        self._spec, self._where = spec, where
        self._named: pa.ChunkedArray | None = None
        name = spec.outcome.label
        nothing = pa.chunked_array([], schema.field(name).type)
        self._wrong_type = spec.problem.wrong_labels(nothing)
        self._rows = WrongRows(column=name, shown=spec.features.key, wrong=self._wrong, sentence=self._sentence)

    def see(self, rows: pa.Table) -> None:
        if self._wrong_type is None:
            self._rows.see(rows)

    def problems(self) -> Iterator[TailraceError]:
        if self._wrong_type is not None:
            yield ContractBroken(f"{self._about} is {self._wrong_type.what}; {self._rule}. Cast it in dbt.")
        yield from self._rows.problems()

    @property
    def _about(self) -> str:
        return f"{self._where}: label {self._spec.outcome.label!r}"

    @property
    def _rule(self) -> str:
        return self._spec.problem.label_rule

    def _wrong(self, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
        wrong = self._spec.problem.wrong_labels(column)
        if wrong is None:
            return None
        kept = [] if self._named is None else self._named.chunks
        self._named = self._few(pa.chunked_array([*kept, *column.filter(wrong.rows).chunks], column.type))
        return wrong.rows

    def _few(self, labels: pa.ChunkedArray) -> pa.ChunkedArray:
        """Wrong labels with the same message as all of these: those that it may name, in either order."""
        distinct = pc.unique(labels).to_pylist()
        firsts = {value for order in (None, str) for value in sorted(distinct, key=order)[: refusals.EXAMPLES]}
        return pa.chunked_array([pa.array([value for value in distinct if value in firsts], labels.type)])

    def _sentence(self, values: str, rows: str) -> ContractBroken:
        wrong = self._spec.problem.wrong_labels(self._named)
        what = wrong.what if wrong is not None else values
        return ContractBroken(f"{self._about} is {what} in {rows}; {self._rule}. Correct it in dbt.")


class Repeated:
    """Counts repeated keys with `repeated`. Rows of the last key wait for the next rows, which may have it too."""

    def __init__(self, spec: PipelineSpec, error: Callable[..., KeysRepeated], *also: str) -> None:
        self._spec, self._error, self._also = spec, error, also
        self._waiting: pa.Table | None = None
        self._keys = 0
        self._examples: list[dict[str, object]] = []

    def see(self, rows: pa.Table) -> None:
        key = self._spec.features.key
        rows = rows.select([*key, *self._also])
        if self._waiting is not None:
            rows = pa.concat_tables([self._waiting, rows])
        if not rows.num_rows:
            return
        others = pc.invert(_like_next(key, rows)).to_numpy().nonzero()[0]
        last = int(others[-1]) + 1 if len(others) else 0
        self._count(rows.slice(0, last))
        self._waiting = rows.slice(last)
        if not self._also:
            self._waiting = self._waiting.slice(0, 2)  # more of them tell no more

    def problems(self) -> Iterator[TailraceError]:
        if self._waiting is not None:
            self._count(self._waiting)
            self._waiting = None
        if self._keys:
            yield self._error(self._spec, self._keys, self._examples)

    def _count(self, rows: pa.Table) -> None:
        keys, examples = repeated(self._spec.features.key, rows, *self._also)
        self._keys += keys
        self._examples += examples[: refusals.EXAMPLES - len(self._examples)]


class LateRows:
    """Counts the rows of features that contain values unknown at their day's cutoff."""

    def __init__(self, spec: PipelineSpec) -> None:
        self._spec = spec
        self._late = 0
        self._examples: list[dict[str, object]] = []

    def see(self, rows: pa.Table) -> None:
        features = self._spec.features
        rows = rows.select([*features.key, "ds", features.known_column])
        if not rows.num_rows:
            return
        of_days = rows["ds"].combine_chunks().dictionary_encode()
        known = rows[features.known_column]
        cutoffs = pa.array([cutoff(self._spec, day) for day in of_days.dictionary.to_pylist()], _UTC)
        late = pc.fill_null(pc.greater(known, cutoffs.take(of_days.indices)), True)
        if pc.any(late).as_py():
            # Arrow's sort is stable: by day, then as the rows lie.
            bad = rows.filter(late).sort_by("ds")
            self._late += bad.num_rows
            self._examples += bad.slice(0, refusals.EXAMPLES - len(self._examples)).to_pylist()

    def problems(self) -> Iterator[LookAhead]:
        if self._late:
            yield refusals.look_ahead(self._spec, self._late, self._examples)


def repeated(key: Sequence[str], rows: pa.Table, *also: str) -> tuple[int, list[dict[str, object]]]:
    """How many keys appear in several rows with the same `also`, and some of these keys; the rows are sorted by key.

    Neighbouring rows are compared, which takes a hundredth of the time of grouping.
    """
    same = _like_next(key, rows)
    if not pc.any(same).as_py():
        return 0, []
    none = pa.chunked_array([pa.array([False])])
    suspects = rows.filter(pc.or_(_joined(none, same), _joined(same, none))).select([*key, *also])
    # In one thread, so that the first keys are the examples.
    counted = suspects.group_by([*key, *also], use_threads=False).aggregate([([], "count_all")])
    found = counted.filter(pc.greater(counted["count_all"], 1)).select(key)
    found = found.group_by(key, use_threads=False).aggregate([])
    return found.num_rows, found.slice(0, refusals.EXAMPLES).to_pylist()


def _like_next(key: Sequence[str], rows: pa.Table) -> pa.ChunkedArray:
    """For each row but the last, whether the next one has the same key."""
    same = pa.chunked_array([pa.repeat(True, max(rows.num_rows - 1, 0))])
    for name in key:
        same = pc.and_(same, pc.fill_null(pc.equal(rows[name][1:], rows[name][:-1]), False))
    return same


def _joined(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([*one.chunks, *other.chunks], pa.bool_())


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _named(values: Sequence[str]) -> str:
    """The first of the values, and '...' if there are others."""
    return ", ".join([*values[: refusals.EXAMPLES], *(["..."] if len(values) > refusals.EXAMPLES else [])])


def _described(examples: Sequence[Mapping[str, Any]]) -> str:
    """', for example ...' with some rows."""
    described = [", ".join(f"{name} {value}" for name, value in row.items()) for row in examples]
    return f", for example {'; '.join(described)}" if examples else ""
