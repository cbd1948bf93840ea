"""The files of a new pipeline, with their text: spec, suites, marts, DAG stub and test."""

from __future__ import annotations

import math
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tailrace.profiling import suites
from tailrace.profiling.columns import plain
from tailrace.scaffold import mart_models
from tailrace.scaffold.proposal import Proposal, day_as_time
from tailrace.scaffold.spec_text import names_of, text_of
from tailrace.scaffold.templating import filled
from tailrace.settings import Project
from tailrace.spec import DAY, PipelineSpec, registry
from tailrace.warehouse.manifest import DbtManifest

WIDTH = 120
ONE_DAG_FILE = "tailrace.airflow"
"""What a DAG file mentions that makes the DAGs of all pipelines."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The project that gets the files. `manifest` is that of its dbt project if it gets marts, else None."""

    project: Project
    manifest: DbtManifest | None = None


def files(made: Proposal, place: Destination) -> dict[str, str]:
    """Each new file by its path in the project, with its text. Raises SpecError if the spec cannot be read again."""
    name, root = made.request.name, place.project.root
    spec = spec_file(made)
    _read_again(name, spec)
    found = {f"pipelines/{name}.py": spec}
    if place.manifest is not None:
        dbt = place.manifest.project.relative_to(root).as_posix()
        models = mart_models.files(made, place.manifest, _macros(place.manifest.project))
        found |= {f"{dbt}/{path}": text for path, text in models.items()}
    found |= {f"expectations/{name}/{part}.json": text for part, text in suite_files(made).items()}
    if _needs_a_dag_file(place.project.dags):
        title, paragraph = _words(made)
        found[f"dags/{name}.py"] = filled("pipeline/dag.py", name=name, title=title, paragraph=_wrapped(paragraph))
    found[f"tests/test_{name}.py"] = filled("pipeline/test.py", name=name)
    return found


def spec_file(made: Proposal) -> str:
    """The text of `pipelines/<name>.py`."""
    title, paragraph = _words(made)
    left_out = [line for name, why in made.left_out.items() for line in _comment(f"- {name}: {why}")]
    text = text_of(made.spec)
    return filled(
        "pipeline/spec.py",
        title=title,
        paragraph=_wrapped(paragraph),
        names=_imported(names_of(made.spec)),
        uses_dates="dt.date(" in text,
        table=made.request.table,
        about_time=_about_time(made),
        left_out=left_out,
        spec=text,
    )


def _about_time(made: Proposal) -> list[str]:
    """A comment that says what a date means as the time of a row."""
    is_date = pa.types.is_date(made.tables.features.rows.schema.field(made.request.time).type)
    return _comment(day_as_time(made.request)) if is_date else []


def suite_files(made: Proposal) -> dict[str, str]:
    """The text of each suite, by its part."""
    spec, name = made.spec, made.request.name
    key, time = spec.features.key, spec.features.event_time
    # without marts of its own, the pipeline gets the rows that lack the time too
    has_time = made.request.marts or not made.tables.features.rows[time].null_count
    moment = [spec.features.known_at] if spec.features.known_at else []
    known = [spec.outcome.known_at] if spec.outcome.known_at else []
    rows = suites.of_features(
        made.profiles,
        spec.features.columns,
        needed=[*_day_of(made, "features"), *key, *([time] if has_time else []), *moment],
        key=key,
        categories=_categories(made),
        rows_a_day=made.tables.features.rows_a_day,
    )
    label = made.tables.outcomes.rows[spec.outcome.label]
    outcomes = suites.of_outcomes(
        [*_day_of(made, "outcomes"), *key, *known], key, spec.outcome.label, always=not plain(label).null_count
    )
    predictions = suites.of_predictions(_published(spec, has_time=has_time), key, _bounds(spec))
    parts = {"features": rows, "outcomes": outcomes, "predictions": predictions}
    return {part: suites.suite(f"{name}.{part}", expectations) for part, expectations in parts.items()}


def _day_of(made: Proposal, part: str) -> list[str]:
    return [made.spec.mart(part).day] if made.spec.mart(part).day not in made.spec.features.key else []


def _categories(made: Proposal) -> dict[str, Sequence[Any]]:
    """All values of the categories that have few, sorted."""
    found: dict[str, Sequence[Any]] = {}
    for column, kind in made.spec.features.columns.items():
        if kind == "categorical" and made.profiles[column].distinct <= suites.MOST_VALUES:
            values = pc.unique(plain(made.tables.features.rows[column])).drop_null().to_pylist()
            found[column] = sorted(int(value) if not isinstance(value, str) else value for value in values)
    return found


def _published(spec: PipelineSpec, *, has_time: bool) -> list[str]:
    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    time = [spec.features.event_time] if has_time else []
    return [DAY, *spec.features.key, *time, *names, "model_version"]


def _bounds(spec: PipelineSpec) -> dict[str, tuple[float, float]]:
    """The limits of published numbers: probabilities are between 0 and 1, counts and amounts are not negative."""
    names = [name for _, name in spec.problem.published_names(spec.predictions)]
    types = spec.problem.published_types(spec.predictions)
    numbers = [name for name, type_ in zip(names, types, strict=True) if str(type_) == "double"]
    if spec.problem.estimators == "classifier":
        return dict.fromkeys(numbers, (0.0, 1.0))
    return dict.fromkeys(numbers, (0.0, math.inf)) if spec.problem.distribution == "poisson" else {}


def _words(made: Proposal) -> tuple[str, str]:
    """The title and the paragraph that describe the pipeline."""
    request, lag = made.request, made.outcome_days.lag_days
    title = " ".join(made.request.description.split()) or f"Predicts {request.label} of the rows of {request.table}."
    paragraph = (
        f"`tailrace new pipeline` wrote this from the rows of {made.first_day} to {made.last_day}. Predictions of "
        f"a day are due at its first minute, {request.zone}; its outcomes are known {lag} day{'' if lag == 1 else 's'} "
        "later. Correct what the rows could not say."
    )
    return _safe(title), _safe(paragraph)


def _safe(text: str) -> str:
    """Text that may stand in a docstring."""
    return text.replace("\\", "\\\\").replace('"', "'")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _comment(text: str) -> list[str]:
    plain_text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return [f"# {line}" for line in textwrap.wrap(plain_text, WIDTH - 2, subsequent_indent="  ")]


def _imported(names: Sequence[str]) -> str:
    line = ", ".join(names)
    if len("from tailrace import ") + len(line) <= WIDTH:
        return line
    return "(\n" + "".join(f"    {name},\n" for name in names) + ")"


def _macros(project: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted((project / "macros").rglob("*.sql")))


def _needs_a_dag_file(dags: Path) -> bool:
    """Whether each pipeline has a DAG file of its own in this project."""
    written = (
        [file.read_text(encoding="utf-8", errors="replace") for file in dags.glob("*.py")] if dags.is_dir() else []
    )
    return bool(written) and not any(ONE_DAG_FILE in text for text in written)


def _read_again(name: str, text: str) -> None:
    """Raise SpecError if the written spec is not what was proposed."""
    with tempfile.TemporaryDirectory(prefix="tailrace-spec-") as folder:
        (Path(folder) / f"{name}.py").write_text(text, encoding="utf-8")
        registry.get(name, Path(folder))
