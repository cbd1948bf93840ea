"""Proposes a pipeline for a table: the spec, what is left out of it, and what a person should look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from tailrace import days
from tailrace.errors import BadInput, ProblemList, TailraceError
from tailrace.problems import Problem
from tailrace.profiling import features as feature_choice
from tailrace.profiling import leaks, questions, windows
from tailrace.profiling.associations import associations
from tailrace.profiling.columns import ColumnProfile, profiled
from tailrace.rows import marts, roles
from tailrace.scaffold import candidates, samples, tables
from tailrace.scaffold.requests import NewPipeline
from tailrace.scaffold.samples import TableSample
from tailrace.scaffold.tables import HEADING, OF_OUTCOME, PipelineTables
from tailrace.spec import (
    DAY,
    KNOWN_AT,
    Features,
    Outcome,
    PipelineSpec,
    Predictions,
    Schedule,
    SearchBudget,
    problems_of,
)
from tailrace.warehouse.reader import MartReader

MOST_BACK = 7
OWN = "its name is one of Tailrace's own"


@dataclass(frozen=True, kw_only=True)
class OutcomeDays:
    """When outcomes are known, and how the table with the labels says it.

    The rows of a day of that table are read `days_back` days later. `why` says what the lag was read from.
    """

    days_back: int
    lag_days: int
    late_days: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A spec, and what it was made from.

    `features_back` is the `days_back` of the features. `extra_day` is a column that the marts add to the key; empty if
    none is needed. `left_out` maps columns to the reason why they are no features; `leaks` are the columns that look
    like leaks, also those that the person included. `notes` and `warnings` are sentences for a person.
    """

    request: NewPipeline
    spec: PipelineSpec
    tables: PipelineTables
    profiles: Mapping[str, ColumnProfile]
    features_back: int
    outcome_days: OutcomeDays
    extra_day: str
    left_out: Mapping[str, str]
    leaks: tuple[leaks.Leak, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def never_missing(self, sample: TableSample) -> tuple[str, ...]:
        """Columns without which a row cannot be used, and which some rows lack: the marts leave these rows out."""
        if not self.request.marts:
            return ()
        needed = [*self.request.key, *([self.request.time] if sample is self.tables.features else [])]
        # the sample has only rows with a day
        day = [str(sample.day)] if sample.dayless else []
        return tuple(dict.fromkeys([*day, *(name for name in needed if sample.rows[name].null_count)]))

    @property
    def first_day(self) -> dt.date:
        """The first day of a run that has rows."""
        return min(self.tables.features.days) + dt.timedelta(days=self.features_back)

    @property
    def last_day(self) -> dt.date:
        """The newest day of a run that has rows."""
        return max(self.tables.features.days) + dt.timedelta(days=self.features_back)


def propose(
    request: NewPipeline,
    reader: MartReader,
    *,
    today: dt.date,
    rows: int = samples.ROWS,
    progress: Callable[[str], None] = lambda name: None,
) -> Proposal:
    """The pipeline that the rows suggest. Nothing is written.

    Raises BadInput, with all problems that can be found together, and what `MartReader` raises.
    """
    return of_tables(request, tables.read(request, reader, today=today, rows=rows), progress)


def of_tables(
    request: NewPipeline, read: PipelineTables, progress: Callable[[str], None] = lambda name: None
) -> Proposal:
    """The pipeline that rows suggest which were read already. Raises BadInput."""
    return _Proposing(request, read, progress).proposal()


@dataclass(frozen=True)
class _Chosen:
    """The features, why other columns are none, and what looks like a leak."""

    profiles: Mapping[str, ColumnProfile]
    kinds: Mapping[str, str]
    left_out: Mapping[str, str]
    leaks: Sequence[leaks.Leak]


class _Proposing:
    """One proposal in the making."""

    def __init__(self, request: NewPipeline, read: PipelineTables, progress: Callable[[str], None]) -> None:
        self._request, self._tables, self._progress = request, read, progress
        self._notes: list[str] = []
        self._warnings: list[str] = []

    def proposal(self) -> Proposal:
        request, read = self._request, self._tables
        self._say_what_was_read()
        span = windows.span_of(request.table, read.features.days, read.features.left_out)
        key, extra = self._key()
        self._refuse_the_time_in(key)
        back = self._days_back()
        problem = self._problem()
        known = self._outcome_days(back)
        window = windows.window_of(request.table, span, known.lag_days)
        chosen = self._features(problem, key)
        spec = PipelineSpec(
            name=request.name,
            owner=request.owner,
            description=request.description,
            features=self._features_part(key, chosen.kinds, back),
            outcome=self._outcome_part(problem, known),
            candidates=candidates.of(problem, chosen.kinds),
            search=SearchBudget(trials=8, seconds=600),
            window=window,
            gate=windows.gate_of(problem),
            schedule=Schedule(train="0 1 * * 1", predict="30 0 * * *", timezone=request.zone),
            predictions=self._predictions(problem, key),
        )
        made = Proposal(
            request=request,
            spec=spec,
            tables=read,
            profiles=chosen.profiles,
            features_back=back,
            outcome_days=known,
            extra_day=extra,
            left_out=chosen.left_out,
            leaks=tuple(chosen.leaks),
            notes=tuple(self._notes),
            warnings=tuple(self._warnings),
        )
        refuse_what_cannot_run(made)
        return made

    def _say_what_was_read(self) -> None:
        read = self._tables
        for each in read.samples:
            self._notes.append(f"{each.table}: {each.words}")
            self._warnings += each.left_out
        for name in dict.fromkeys((*self._request.key, self._request.time)):
            self._say_what_is_missing(name)
        self._say_what_the_time_is()

    def _say_what_the_time_is(self) -> None:
        """Of a date: that its first moment is meant."""
        request = self._request
        if pa.types.is_date(self._tables.features.rows.schema.field(request.time).type):
            self._notes.append(day_as_time(request))

    def _say_what_is_missing(self, name: str) -> None:
        """A warning about rows without key or time. Raises BadInput if none has one."""
        request, rows = self._request, self._tables.features.rows
        missing = rows[name].null_count
        if missing and missing == rows.num_rows:
            raise BadInput(f"{request.table}: {name} is missing in every row that was read; choose another column.")
        if missing:
            then = (
                "The marts leave such rows out." if request.marts else "Fill it in, or leave such rows out of the mart."
            )
            self._warnings.append(
                f"{request.table}: {name} is missing in {missing:,} of {rows.num_rows:,} rows. {then}"
            )

    def _key(self) -> tuple[tuple[str, ...], str]:
        """The key that names one row over all days, and the column that marts must add for that."""
        request, rows, day = self._request, self._tables.features.rows, self._tables.day
        key = tuple(dict.fromkeys(request.key))
        if not tables.repeated(rows, key):
            return key, ""
        if again := tables.repeated(rows, tuple(dict.fromkeys((*key, day)))):
            raise BadInput(
                f"{request.table}: {again:,} keys ({', '.join(key)}) appear more than once on a day; a key must "
                "identify one row. Name further columns with --key, or remove the repeated rows in the mart."
            )
        if day != DAY:
            self._notes.append(f"{', '.join(key)} repeats from day to day, so {day} is a part of the key.")
            return (*key, day), ""
        if request.marts:
            extra = _free_name(f"{request.name}_day", rows.column_names)
            self._notes.append(f"{', '.join(key)} repeats from day to day, so the marts add {extra} to the key.")
            return (*key, extra), extra
        raise BadInput(
            f"{request.table}: the key ({', '.join(key)}) repeats from day to day, and a key must identify one row "
            f"over all days. {DAY!r} is a column of Tailrace's own and cannot be a part of it: add the day to the mart "
            "under another name, and name that with --key too."
        )

    def _refuse_the_time_in(self, key: Sequence[str]) -> None:
        """The lake has the key as it is and the time as a moment: one column cannot be both."""
        time, table = self._request.time, self._request.table
        if time in key:
            raise BadInput(
                f"{table}: --time {time!r} is a part of the key, and the time of a row needs a column of its own. Add "
                f"one in the mart, such as cast({time} as timestamp) as {time}_begins, and name it with --time."
            )

    def _days_back(self) -> int:
        """How many days after its own day a row may be used."""
        request, read = self._request, self._tables
        if request.days_back is not None:
            return request.days_back
        if read.known_at is None:
            self._warnings.append(
                f"{request.table} has no column that says when a row became known (--known-at), so nothing can say "
                "whether its values were known when predictions were due. Make sure that they were."
            )
            return 0
        rows, zone = read.features.rows, ZoneInfo(request.zone)
        needed, late = leaks.known_late(
            rows[read.known_at], rows[read.day], lambda day: days.cutoff(day, zone), MOST_BACK
        )
        if needed > MOST_BACK:
            raise BadInput(
                f"{request.table}: {late:,} of {rows.num_rows:,} rows became known ({read.known_at}) after their day, "
                f"some more than {MOST_BACK} days: they hold values that were not known when predictions were due. "
                "Select in the mart what was known then, or say --days-back."
            )
        if needed:
            self._warnings.append(
                f"{request.table}: rows become known ({read.known_at}) up to {needed} days after the cutoff of their "
                f"day ({read.day}), so a run uses the rows of {needed} days before."
            )
        return needed

    def _problem(self) -> Problem:
        label = self._request.label
        found = questions.question_of(label, self._tables.labelled[label], self._request.kind)
        self._notes.append(f"Label {label!r}: {found.problem!r}, since {found.why}.")
        self._warnings += (f"Label {label!r}: {note}" for note in found.notes)
        return found.problem

    def _outcome_days(self, back: int) -> OutcomeDays:
        lag, by_its_day = self._lag()
        later, why = max(1, lag.days - back), lag.why
        if self._request.lag_days is not None:
            later, why = self._request.lag_days, "--lag-days says so"
        self._notes.append(f"Outcomes of a day are known {later} day{'' if later == 1 else 's'} later: {why}.")
        back_of_outcomes = later + back if by_its_day else 0
        return OutcomeDays(days_back=back_of_outcomes, lag_days=later, late_days=lag.late_days, why=why)

    def _lag(self) -> tuple[windows.Lag, bool]:
        """The lag, and whether an outcome is found under the day that it is about, not under that on which it came."""
        request, read = self._request, self._tables
        about = read.labelled[read.day]
        if read.one_table:
            if request.outcome_known_at:
                return windows.lag_between(request.table, about, read.labelled[request.outcome_known_at]), True
            return windows.lag_from_labels(about, read.labelled[request.label], max(read.features.days)), True
        known = read.labelled[f"{OF_OUTCOME}{read.outcomes.day}"]
        furthest = pc.max(pc.days_between(about.cast(pa.date32()), known.cast(pa.date32()))).as_py()
        if furthest:
            return windows.lag_between(request.outcomes_table, about, known), False
        if read.outcome_known_at:
            moment = read.labelled[f"{OF_OUTCOME}{read.outcome_known_at}"]
            return windows.lag_between(request.outcomes_table, about, moment), True
        return windows.Lag(1, windows.WEEK, "nothing says otherwise, correct it if they take longer"), True

    def _features(self, problem: Problem, key: Sequence[str]) -> _Chosen:
        request, read = self._request, self._tables
        rows = read.labelled
        profiles = profiled(rows, [name for name in rows.column_names if not name.startswith(OF_OUTCOME)])
        chosen = feature_choice.chosen(rows, profiles, taken=self._taken(key), label=request.label)
        kinds, left_out = dict(chosen.kinds), dict(chosen.left_out)
        found = associations(rows, request.label, problem, names=list(kinds), progress=self._progress)
        leaking = leaks.leaks(
            rows,
            [each for each in profiles if each.name != request.label and each.name not in key],
            label=request.label,
            problem=problem,
            found=found,
            key=list(dict.fromkeys(request.key)),
            times=leaks.Times(request.time, read.day, read.known_at),
        )
        for leak in leaking:
            if leak.column not in request.include and kinds.pop(leak.column, ""):
                left_out[leak.column] = f"it looks like a leak: {leak.why}"
        left_out |= {name: "--exclude names it" for name in request.exclude if kinds.pop(name, "")}
        left_out |= {name: f"it cannot be read: {why}" for name, why in read.features.unread.items()}
        self._refuse_without(kinds, left_out)
        return _Chosen({each.name: each for each in profiles}, kinds, left_out, leaking)

    def _refuse_without(self, kinds: Mapping[str, str], left_out: Mapping[str, str]) -> None:
        """Raise BadInput if no feature is left, or one that was asked for cannot be one."""
        unusable = [f"--include: {name} cannot be a feature: {left_out[name]}." for name in self._request.include
                    if name not in kinds]  # fmt: skip
        if unusable:
            raise ProblemList(HEADING, unusable)
        if not kinds:
            listed = [f"{name}: {why}." for name, why in left_out.items()]
            raise ProblemList(f"{self._request.table} has no column that can be a feature:", listed)

    def _taken(self, key: Sequence[str]) -> dict[str, str]:
        """The columns with another role than a feature."""
        request, read = self._request, self._tables
        outcome_known = {request.outcome_known_at} - {""} if read.one_table else set()
        return {
            **dict.fromkeys((DAY, KNOWN_AT, "__label", "__time"), OWN),
            **dict.fromkeys(outcome_known, "it says when the outcome became known"),
            **({read.known_at: "it says when the row became known"} if read.known_at else {}),
            read.day: "it is the day",
            **dict.fromkeys(key, "it is a part of the key"),
            request.time: "it is the time",
            request.label: "it is the label",
        }

    def _features_part(self, key: tuple[str, ...], kinds: Mapping[str, str], back: int) -> Features:
        request, read = self._request, self._tables
        part = Features(key=key, event_time=request.time, columns=dict(kinds), known_at=read.known_at)
        return part if request.marts else replace(part, table=request.table, day=read.day, days_back=back)

    def _outcome_part(self, problem: Problem, known: OutcomeDays) -> Outcome:
        request, read = self._request, self._tables
        part = Outcome(
            label=request.label,
            known_at=read.outcome_known_at,
            lag_days=known.lag_days,
            late_days=known.late_days,
            problem=problem,
        )
        if request.marts:
            return part
        return replace(part, table=request.label_table, day=str(read.outcomes.day), days_back=known.days_back)

    def _predictions(self, problem: Problem, key: Sequence[str]) -> Predictions:
        """The default names of the published columns, unless another column has one of them."""
        usual = Predictions()
        taken = [*key, self._request.time, self._request.label, "model_version"]
        score = _free_name(usual.score, taken)
        decides = problem.estimators == "classifier"
        return Predictions(score=score, decision=_free_name(usual.decision, taken) if decides else usual.decision)


def refuse_what_cannot_run(made: Proposal) -> None:
    """Raise ProblemList with everything that would stop the spec, or the sampled rows, in the first night."""
    problems = problems_of(made.spec)
    read, spec = made.tables, made.spec
    if not made.request.marts and read.day != DAY and DAY in read.features.rows.column_names:
        problems.append(
            f"{made.request.table} has a column {DAY!r} besides its day {read.day!r}, and the lake's table needs that "
            "name for the day. Name the column differently in the mart."
        )
    if not made.request.marts:
        # the lake takes all columns of a table, unless a mart selects some
        problems += (
            f"{each.table}: column {name!r} cannot be read: {why}. Or make a mart without it, and name that table."
            for each in read.samples
            for name, why in each.unread.items()
        )
    if not problems:
        try:
            roles.check(spec, made.last_day, lake_features(made), lake_outcomes(made))
        except TailraceError as error:
            problems += [line.strip("- ") for line in str(error).splitlines()[1:]] or [str(error)]
    if problems:
        raise ProblemList(HEADING, problems)


def day_as_time(request: NewPipeline) -> str:
    """What a date means as the time of a row."""
    return f"{request.time} is a date, so the time of a row is the first moment of that day in {request.zone}."


def lake_features(made: Proposal) -> pa.Table:
    """The sampled rows of the features as the lake will have them, sorted by key."""
    spec, read = made.spec, made.tables
    rows = _with_extra(made, read.features)
    names = [*spec.features.key, spec.features.event_time, *spec.features.columns]
    names += [spec.features.known_at] if spec.features.known_at else []
    return _lake_rows(made, rows, names, about=rows[read.day], later=made.features_back)


def lake_outcomes(made: Proposal) -> pa.Table:
    """The sampled rows of the outcomes as the lake will have them, sorted by key."""
    spec, read = made.spec, made.tables
    rows = _with_extra(made, read.outcomes)
    names = [*spec.features.key, spec.outcome.label, *([spec.outcome.known_at] if spec.outcome.known_at else [])]
    later = made.outcome_days.days_back
    return _lake_rows(made, rows, names, about=rows[str(read.outcomes.day)], later=later)


def _with_extra(made: Proposal, sample: TableSample) -> pa.Table:
    rows = sample.rows
    for name in made.never_missing(sample):
        rows = rows.filter(pc.is_valid(rows[name]))
    return rows.append_column(made.extra_day, rows[str(sample.day)]) if made.extra_day else rows


def _lake_rows(made: Proposal, rows: pa.Table, names: Sequence[str], *, about: pa.ChunkedArray, later: int) -> pa.Table:
    key, zone = made.spec.features.key, ZoneInfo(made.request.zone)
    found = rows.select(list(dict.fromkeys(names)))
    for at, field in enumerate(found.schema):
        if pa.types.is_date(field.type) and field.name not in key:
            found = found.set_column(at, field.name, marts.first_moments(found[field.name], zone))
    shifted = pc.add(about.cast(pa.date32()).cast(pa.int32()), pa.scalar(later, pa.int32())).cast(pa.date32())
    return found.append_column(DAY, shifted).sort_by([(name, "ascending") for name in key])


def _free_name(name: str, taken: Sequence[str]) -> str:
    """The name, with a number if a column has it already."""
    lower = {each.lower() for each in taken}
    return next(each for each in (name, *(f"{name}_{number}" for number in range(2, 100))) if each.lower() not in lower)
