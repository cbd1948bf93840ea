"""What a data scientist says about a pipeline, and every check on it.

A spec only records. `problems_of` lists everything that is wrong with one, so that a
person corrects a file once; the registry raises them together.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import hashlib
import importlib
import inspect
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterBadDateError, croniter

from tailrace.errors import did_you_mean
from tailrace.spec.field_types import wrong_fields
from tailrace.spec.parameters import described, unrecordable

COLUMN_KINDS = ("numeric", "categorical", "text")
GATE_METRICS = ("roc_auc", "pr_auc", "log_loss", "brier")
PROBABILITY_METRICS = ("roc_auc", "pr_auc", "brier")
APPROVALS = ("auto", "human")
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
LABEL = "__label"
"""The column that holds the labels of training rows."""

TIME = "__time"
"""The column that holds the order of training rows in Spark."""

RESERVED = frozenset({"ds", LABEL, TIME})
WAREHOUSE = "warehouse"
MOST_DAYS = 36_525
"""A hundred years: further back no calendar goes."""

MOST_TRIALS = 1_000_000
MOST_SECONDS = 366 * 86_400
ESTIMATOR_PACKAGES = ("sklearn.", "xgboost.", "pyspark.")
CLUSTER_PACKAGES = ("xgboost.spark.", "pyspark.")
CLUSTER_ESTIMATORS = (
    "xgboost.spark.SparkXGBClassifier",
    "pyspark.ml.classification.LogisticRegression",
    "pyspark.ml.classification.RandomForestClassifier",
    "pyspark.ml.classification.GBTClassifier",
)
"""What can train on a cluster's executors together; its models score without Spark."""

OWN_PARAMETERS = re.compile(
    r".*(Col|_col|_cols)|family|feature_names|feature_types|missing|objective|early_stopping_rounds|.*repartition.*"
)
"""Parameters of those that Tailrace sets: what they read and predict, and how rows are dealt out."""

XGBOOST_METRICS = {"log_loss": "logloss", "roc_auc": "auc", "pr_auc": "aucpr", "brier": "rmse"}
"""XGBoost's names for the metrics of a search."""

XGBOOST_SETS: Mapping[str, tuple[object, str]] = {
    "objective": ("binary:logistic", "the predictions are probabilities"),
    "eval_metric": (XGBOOST_METRICS, "search.metric says what trials are compared by"),
    "missing": (math.nan, "nulls are what is missing; make such values null in dbt"),
    "enable_categorical": (True, "features.columns says which columns are categories"),
    "feature_types": (None, "features.columns says which columns are categories"),
    "feature_weights": (None, "all features are drawn alike"),
    "importance_type": ("total_gain", "importance is the share of the total gain"),
    "callbacks": (None, "the search watches the trials"),
    "kwargs": (None, "write each parameter by its own name"),
}
"""Parameters of XGBoost that Tailrace sets, with what they are and why: others would be recorded and not in force."""


@dataclass(frozen=True)
class Features:
    """The columns of `<pipeline>_features`, known when the prediction is due.

    `key` names one row over all days; `columns` maps each model input to its kind: numeric, categorical or text.
    """

    key: tuple[str, ...]
    event_time: str
    columns: Mapping[str, str]
    known_at: str = "known_at"

    def of_kind(self, kind: str) -> tuple[str, ...]:
        return tuple(name for name, its_kind in self.columns.items() if its_kind == kind)


@dataclass(frozen=True)
class Outcome:
    """The columns of `<pipeline>_outcomes`: the boolean label, and when it became known.

    `lag_days`: outcomes of a day are known at the cutoff so many days later, most of them at least;
    the training window ends that many days before the day of training.
    """

    label: str
    known_at: str = "known_at"
    description: str = ""
    lag_days: int = 1


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from low to high, both included; log draws their logarithm evenly."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high; log draws their logarithm evenly."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    options: tuple[str | int | float | bool | None, ...]


Domain = IntRange | FloatRange | Choice


@dataclass(frozen=True)
class Candidate:
    """An estimator to try: fixed parameters, and the domains of those to search."""

    name: str
    estimator: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchBudget:
    """How long to search: trials over all candidates, and seconds after which none is started."""

    trials: int = 20
    seconds: int = 3600
    metric: str = "log_loss"


@dataclass(frozen=True)
class Window:
    """Days of features to learn from, of which the last `holdout_days` are kept for the gate."""

    days: int
    holdout_days: int


@dataclass(frozen=True)
class Gate:
    """When a challenger replaces the champion.

    It must reach `floor` on the holdout, beat the champion's metric by `margin`, and fall below
    the champion by at most `slice_tolerance` on every value of `slices` with `slice_rows` rows or more.
    With `approval` "human" a person then decides; whom nobody answers for `approval_days` days is rejected.
    """

    metric: str = "roc_auc"
    floor: float = 0.5
    margin: float = 0.0
    slices: tuple[str, ...] = ()
    slice_tolerance: float = 0.05
    slice_rows: int = 200
    approval: Literal["auto", "human"] = "auto"
    approval_days: float = 3


@dataclass(frozen=True)
class Schedule:
    """Cron expressions, read in the pipeline's own time zone.

    Runs are scheduled from `start` to `end`, both included; backfills and forms are free to go beyond.
    """

    train: str | None
    predict: str | None
    timezone: str = "UTC"
    start: dt.date | None = None
    end: dt.date | None = None


@dataclass(frozen=True)
class Predictions:
    """The columns that are published, besides key, event time and model version."""

    score: str = "score"
    decision: str = "decision"
    threshold: float = 0.5


@dataclass(frozen=True)
class Audit:
    """What staged predictions must be like to be published.

    `max_null_share` and `min_coverage` are shares of the day's feature rows; `max_psi` bounds the
    population stability index of the day's scores against the training holdout's, and is not
    judged on fewer than `psi_rows` rows.
    """

    max_null_share: float = 0.0
    min_coverage: float = 1.0
    max_psi: float | None = None
    psi_rows: int = 200


@dataclass(frozen=True)
class Monitor:
    """When a published day's features or scores are said to drift, by their population stability index (PSI).

    A single day differs from the weeks a model learned from. So a day counts as `watch` or `alarm` by how far its PSI
    goes beyond the highest that any single day of the model's training window had; days of fewer than `rows` rows
    are not judged.
    """

    watch_psi: float = 0.1
    alarm_psi: float = 0.25
    rows: int = 100


@dataclass(frozen=True)
class PipelineSpec:
    """One pipeline, from its warehouse tables to its published predictions."""

    name: str
    owner: str
    description: str
    features: Features
    outcome: Outcome
    candidates: tuple[Candidate, ...]
    window: Window
    schedule: Schedule
    search: SearchBudget = SearchBudget()
    gate: Gate = Gate()
    predictions: Predictions = Predictions()
    audit: Audit = Audit()
    monitor: Monitor = Monitor()

    @property
    def features_table(self) -> str:
        return f"features/{self.name}"

    @property
    def outcomes_table(self) -> str:
        return f"outcomes/{self.name}"

    @property
    def predictions_table(self) -> str:
        return f"predictions/{self.name}"

    @property
    def performance_table(self) -> str:
        return f"performance/{self.name}"

    def digest(self) -> str:
        """SHA-256 of everything the spec says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=described).encode()).hexdigest()


def problems_of(spec: PipelineSpec, *, estimators: bool = True) -> list[str]:
    """A sentence for each thing that is wrong with a spec, naming pipeline and field.

    Types come first: a check reads a field only where its values have the right ones.
    `estimators=False` leaves out the checks that import scikit-learn, XGBoost and Spark (seconds).
    """
    wrong = list(wrong_fields(spec))
    unreadable = {re.split(r"[.\[]", where)[0] for where, _ in wrong}
    problems = [sentence for _, sentence in wrong]
    for check, needs in _CHECKS.items():
        if unreadable.isdisjoint(needs) and (estimators or check is not _estimators):
            problems += check(spec)
    return [f"{spec.name}: {problem}" for problem in problems]


def _names(spec: PipelineSpec) -> Iterator[str]:
    if not NAME.fullmatch(spec.name):
        yield f"name {spec.name!r} must be lower-case letters, digits and underscores, starting with a letter."
    if spec.name == WAREHOUSE:
        yield f"name {spec.name!r} is the name of the warehouse's own DAG; give the pipeline another one."
    if not spec.owner.strip():
        yield "owner is empty; name the team or person who answers for the predictions."


def _features(spec: PipelineSpec) -> Iterator[str]:
    features = spec.features
    if not features.columns:
        yield "features.columns is empty; a model needs at least one input."
    if not features.key:
        yield f"features.key is {features.key!r}; it must be a tuple of the columns that identify a row."
    for column, kind in features.columns.items():
        if kind not in COLUMN_KINDS:
            yield (
                f"features.columns[{column!r}] is of kind {kind!r}; it must be one of "
                f"{', '.join(COLUMN_KINDS)}.{did_you_mean(kind, COLUMN_KINDS)}"
            )
    times = {features.event_time, features.known_at, spec.outcome.known_at}
    others = _by_case({*features.key, *times, spec.outcome.label, *RESERVED})
    for column in sorted(name for name in features.columns if name.lower() in others):
        same = others[column.lower()]
        which = "" if column in same else f" (databases take it for {same[0]!r})"
        yield f"features.columns[{column!r}] is a key, a time or the label{which}; a model must not learn from it."
    for column in sorted({name for name in features.key if features.key.count(name) > 1}):
        yield f"features.key names {column!r} {features.key.count(column)} times; once is enough."


def _columns(spec: PipelineSpec) -> Iterator[str]:
    """No two roles may share a column of a table, nor have names that databases take for one."""
    features, outcome, predictions = spec.features, spec.outcome, spec.predictions
    key = [("features.key", name) for name in dict.fromkeys(features.key)]
    event_time, label = ("features.event_time", features.event_time), ("outcome.label", outcome.label)
    score, decision = ("predictions.score", predictions.score), ("predictions.decision", predictions.decision)
    own = [("", name) for name in sorted(RESERVED)]
    tables = {
        "features": [*own, *key, event_time, ("features.known_at", features.known_at)],
        "outcomes": [*own, *key, ("outcome.known_at", outcome.known_at), label],
        "predictions": [*own, ("", "model_version"), *key, event_time, score, decision],
        "predictions with their outcomes": [*key, score, label],
    }
    said = set()
    for table, columns in tables.items():
        taken: dict[str, str] = {}
        for where, name in columns:
            other = taken.setdefault(name.lower(), where)
            if other is not where and (other, where) not in said:
                said.add((other, where))
                yield _shared(where, name, other, table)
    inputs = [(f"features.columns[{name!r}]", name) for name in features.columns]
    for where, name in dict.fromkeys([*inputs, *(column for columns in tables.values() for column in columns)]):
        if not name or not name.isprintable():
            yield f"{where} is {name!r}; a column needs a name without line breaks or other control characters."
    for where, names in (("features.key", dict.fromkeys(features.key)), ("features.columns", features.columns)):
        for name, same in _by_case(names).items():
            if len(same) > 1:
                yield f"{where} has {' and '.join(map(repr, same))}, which databases take for one column: {name}."


def _shared(where: str, name: str, other: str, table: str) -> str:
    if not other:
        return f"{where} has {name!r}, which is a column of Tailrace's own."
    return f"{where} is {name!r}, which is already a column of the {table}: {other}."


def _by_case(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.lower(), []).append(name)
    return found


def _window(spec: PipelineSpec) -> Iterator[str]:
    window = spec.window
    if spec.outcome.lag_days < 1:
        yield f"outcome.lag_days is {spec.outcome.lag_days}; an outcome is known 1 day later at the earliest."
    for where, count in (("outcome.lag_days", spec.outcome.lag_days), ("window.days", window.days)):
        yield from _at_most(where, count, MOST_DAYS)
    if window.holdout_days < 1:
        yield f"window.holdout_days is {window.holdout_days}; the gate needs at least 1 day."
    if window.days <= window.holdout_days:
        yield (
            f"window.days is {window.days} and window.holdout_days is {window.holdout_days}; "
            "more days than the holdout's are needed to learn from."
        )


def _search(spec: PipelineSpec) -> Iterator[str]:
    if spec.search.trials < 1:
        yield f"search.trials is {spec.search.trials}; at least 1 is needed."
    if spec.search.seconds < 1:
        yield f"search.seconds is {spec.search.seconds}; at least 1 is needed."
    yield from _at_most("search.trials", spec.search.trials, MOST_TRIALS)
    yield from _at_most("search.seconds", spec.search.seconds, MOST_SECONDS)
    yield from _one_of("search.metric", spec.search.metric, GATE_METRICS)


def _gate(spec: PipelineSpec) -> Iterator[str]:
    gate = spec.gate
    yield from _one_of("gate.metric", gate.metric, GATE_METRICS)
    yield from _one_of("gate.approval", gate.approval, APPROVALS)
    if gate.metric in PROBABILITY_METRICS:
        yield from _share("gate.floor", gate.floor)
        yield from _share("gate.margin", gate.margin)
        yield from _share("gate.slice_tolerance", gate.slice_tolerance)
    elif min(gate.floor, gate.margin, gate.slice_tolerance) < 0:
        yield "gate.floor, gate.margin and gate.slice_tolerance must not be negative."
    if not 0 < gate.approval_days <= 365:
        yield f"gate.approval_days is {gate.approval_days}; it must be more than 0 days, and at most 365."
    if gate.slice_rows < 1:
        yield f"gate.slice_rows is {gate.slice_rows}; at least 1 is needed."
    for column in gate.slices:
        kind = spec.features.columns.get(column)
        if kind is None:
            yield f"gate.slices has {column!r}, which is not a feature.{did_you_mean(column, spec.features.columns)}"
        elif kind != "categorical":
            yield f"gate.slices has {column!r}, which is {kind}; only categorical features have values to slice by."


def _schedule(spec: PipelineSpec) -> Iterator[str]:
    schedule = spec.schedule
    if not _is_zone(schedule.timezone):
        nearest = did_you_mean(schedule.timezone, _zones())
        yield f"schedule.timezone {schedule.timezone!r} is not a time zone.{nearest}"
    for name, cron in (("train", schedule.train), ("predict", schedule.predict)):
        if cron is not None and (wrong := _wrong_cron(cron)):
            yield f"schedule.{name} is {cron!r}{wrong}; write a cron expression of five fields, such as '30 0 * * *'."
    if schedule.start and schedule.end and schedule.start > schedule.end:
        yield f"schedule.start {schedule.start} is after schedule.end {schedule.end}."


def _wrong_cron(cron: str) -> str | None:
    """What is wrong with a cron expression, as the part of a sentence; None if nothing is."""
    fields = len(cron.split())
    if fields != 5:
        return f", which has {fields} field{'' if fields == 1 else 's'}"
    try:
        croniter(cron, dt.datetime(2000, 1, 1)).get_next()
    except CroniterBadDateError:
        return ", a date that never comes"
    except ValueError:  # croniter's own errors, and numbers of thousands of digits
        return ", which is no cron expression"
    return None


def _predictions(spec: PipelineSpec) -> Iterator[str]:
    predictions = spec.predictions
    yield from _share("predictions.threshold", predictions.threshold)


def _audit(spec: PipelineSpec) -> Iterator[str]:
    audit = spec.audit
    yield from _share("audit.max_null_share", audit.max_null_share)
    yield from _share("audit.min_coverage", audit.min_coverage)
    if audit.max_psi is not None and not audit.max_psi > 0:
        yield f"audit.max_psi is {audit.max_psi}; it must be more than 0 (0.25 is a common alarm), or None."
    if audit.psi_rows < 1:
        yield f"audit.psi_rows is {audit.psi_rows}; at least 1 is needed."


def _monitor(spec: PipelineSpec) -> Iterator[str]:
    monitor = spec.monitor
    if not 0 < monitor.watch_psi <= monitor.alarm_psi:
        yield (
            f"monitor.watch_psi is {monitor.watch_psi} and monitor.alarm_psi is {monitor.alarm_psi}; both must be more "
            "than 0, and the alarm not below the watch (0.1 and 0.25 are common)."
        )
    if monitor.rows < 1:
        yield f"monitor.rows is {monitor.rows}; at least 1 is needed."


def _candidates(spec: PipelineSpec) -> Iterator[str]:
    if not spec.candidates:
        yield "candidates is empty; name at least one estimator."
    names = [candidate.name for candidate in spec.candidates]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"candidates has {name!r} {names.count(name)} times; names must differ."
    for candidate in spec.candidates:
        where = f"candidates[{candidate.name!r}]"
        yield from _unrecordable(where, candidate)
        for parameter in sorted(set(candidate.parameters) & set(candidate.search)):
            yield f"{where}.search has {parameter!r}, which .parameters fixes already."
        odd = [name for name in spec.features.columns if set(name) & set("[]<")]
        if odd and candidate.estimator.startswith("xgboost."):
            named = ", ".join(map(repr, odd))
            yield f"{where}: XGBoost takes no column names with [, ] or <; rename {named} in dbt and here."
        if not candidate.estimator.startswith("sklearn.") and spec.features.of_kind("text"):
            library = "XGBoost" if candidate.estimator.startswith("xgboost.") else "Spark ML"
            yield f"{where}: {library} does not read texts; use an estimator of scikit-learn, or leave the texts out."
        if "num_workers" in candidate.search:
            yield f"{where}.search has 'num_workers', which is the cluster's; fix it in .parameters, or leave it out."
        for parameter, domain in candidate.search.items():
            yield from _domain(f"{where}.search[{parameter!r}]", domain)


def _unrecordable(where: str, candidate: Candidate) -> Iterator[str]:
    """A parameter is part of the spec's digest, so it must be the same in every process."""
    options = {name: domain.options for name, domain in candidate.search.items() if isinstance(domain, Choice)}
    for part, values in (("parameters", candidate.parameters), ("search", options)):
        for parameter, value in values.items():
            for what in unrecordable(value):
                yield (
                    f"{where}.{part}[{parameter!r}] has {what}, whose content cannot be recorded; use numbers, texts, "
                    "True, False, None, lists and dicts of these, or estimators of scikit-learn."
                )


def _domain(where: str, domain: object) -> Iterator[str]:
    if isinstance(domain, Choice):
        if not domain.options:
            yield f"{where} has no options."
    elif isinstance(domain, IntRange | FloatRange):
        if domain.low >= domain.high:
            yield f"{where} goes from {domain.low} to {domain.high}; low must be less than high."
        if domain.log and domain.low <= 0:
            yield f"{where} is on a logarithmic scale from {domain.low}; low must be more than 0."


def _estimators(spec: PipelineSpec) -> Iterator[str]:
    for candidate in spec.candidates:
        where = f"candidates[{candidate.name!r}]"
        if not candidate.estimator.startswith(ESTIMATOR_PACKAGES):
            yield f"{where}.estimator {candidate.estimator!r} is not of scikit-learn, XGBoost or Spark."
            continue
        if candidate.estimator.startswith(CLUSTER_PACKAGES):
            yield from _cluster_estimator(where, candidate, spec.search.metric)
            continue
        module_name, _, class_name = candidate.estimator.rpartition(".")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            yield f"{where}.estimator {candidate.estimator!r} does not import: {error}."
            continue
        estimator = getattr(module, class_name, None)
        if not inspect.isclass(estimator) or not hasattr(estimator, "get_params"):
            classes = [name for name, value in vars(module).items() if inspect.isclass(value)]
            yield (
                f"{where}.estimator: {module_name} has no estimator {class_name!r}.{did_you_mean(class_name, classes)}"
            )
            continue
        if not hasattr(estimator, "predict_proba"):
            yield f"{where}.estimator: {class_name} gives no probabilities; use a classifier with predict_proba."
            continue
        known = set(inspect.signature(estimator).parameters) | set(_parameters(estimator, candidate))
        yield from _unknown_parameters(where, candidate, known)
        if candidate.estimator.startswith("xgboost."):
            yield from _not_in_force(where, candidate, spec.search.metric, known)


def _cluster_estimator(where: str, candidate: Candidate, metric: str) -> Iterator[str]:
    """The class is looked at, never made: making one takes a JVM."""
    if candidate.estimator not in CLUSTER_ESTIMATORS:
        yield (
            f"{where}.estimator {candidate.estimator!r} is none of those that train on a cluster: "
            f"{', '.join(CLUSTER_ESTIMATORS)}.{did_you_mean(candidate.estimator, CLUSTER_ESTIMATORS)}"
        )
        return
    from pyspark.ml.param import Param

    module_name, _, class_name = candidate.estimator.rpartition(".")
    estimator = getattr(importlib.import_module(module_name), class_name)
    known = {name for name in dir(estimator) if isinstance(getattr(estimator, name), Param)}
    known = {name for name in known if not OWN_PARAMETERS.fullmatch(name)}
    yield from _unknown_parameters(where, candidate, known)
    if candidate.estimator.startswith("xgboost."):
        yield from _not_in_force(where, candidate, metric, known)


def _unknown_parameters(where: str, candidate: Candidate, known: set[str]) -> Iterator[str]:
    class_name = candidate.estimator.rpartition(".")[2]
    for part in ("parameters", "search"):
        for parameter in sorted(set(getattr(candidate, part)) - known):
            yield f"{where}.{part}: {class_name} has no parameter {parameter!r}.{did_you_mean(parameter, known)}"


def _not_in_force(where: str, candidate: Candidate, metric: str, known: set[str]) -> Iterator[str]:
    """Parameters of the estimator that Tailrace would override in silence."""
    for parameter in sorted(set(XGBOOST_SETS) & known & {*candidate.parameters, *candidate.search}):
        value, reason = XGBOOST_SETS[parameter]
        if value is XGBOOST_METRICS:
            value = XGBOOST_METRICS.get(metric)
        if parameter in candidate.search or repr(candidate.parameters[parameter]) != repr(value):
            part = "search" if parameter in candidate.search else "parameters"
            instead = "" if value is None else f" to {value!r}"
            yield f"{where}.{part}: Tailrace sets {parameter!r}{instead} ({reason}); leave it out."


def _parameters(estimator: Any, candidate: Candidate) -> list[str]:
    """The estimator's parameters, and those of the estimators that the candidate puts into it, such as estimator__C."""
    given = {name: value for name, value in candidate.parameters.items() if "__" not in name}
    names: list[str] = []
    for parameters in ({}, given):
        # A meta-estimator cannot be made without others; what is wrong with those is told when it is fitted.
        with contextlib.suppress(TypeError, AttributeError, ValueError):
            made = estimator(**parameters).get_params()
            names += [name for name in made if "__" in name or not parameters]
    return names


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if value not in allowed:
        yield f"{where} is {value!r}; it must be one of {', '.join(allowed)}.{did_you_mean(value, allowed)}"


def _at_most(where: str, value: int, most: int) -> Iterator[str]:
    if value > most:
        yield f"{where} is {value}; at most {most:,} is possible."


def _share(where: str, value: float) -> Iterator[str]:
    if not 0 <= value <= 1:
        yield f"{where} is {value}; it must be between 0 and 1."


def zone(spec: PipelineSpec) -> ZoneInfo:
    """The time zone in which the pipeline's day begins."""
    return ZoneInfo(spec.schedule.timezone)


def _is_zone(name: str) -> bool:
    """Whether it is one of `_zones`, without reading them all: every parse of a DAG file asks."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    # Copies of other zones, and this machine's own: not in `available_timezones`, though there are such files.
    return name not in ("localtime", "posixrules") and name.split("/")[0] not in ("posix", "right")


@functools.cache
def _zones() -> frozenset[str]:
    """Time zones that are the same on every machine."""
    return frozenset(available_timezones() - {"localtime"})


_CHECKS: Mapping[Callable[[PipelineSpec], Iterator[str]], tuple[str, ...]] = {
    _names: ("name", "owner"),
    _features: ("features", "outcome"),
    _columns: ("features", "outcome", "predictions"),
    _window: ("window", "outcome"),
    _search: ("search",),
    _gate: ("gate", "features"),
    _schedule: ("schedule",),
    _predictions: ("predictions",),
    _audit: ("audit",),
    _monitor: ("monitor",),
    _candidates: ("candidates", "features"),
    _estimators: ("candidates", "search"),
}
"""Each check with the fields that it reads."""
