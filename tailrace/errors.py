"""Every error Tailrace raises on purpose.

    TailraceError
    ├── BadInput                 the request cannot be fulfilled: exit code 2, never retried
    │   ├── SpecError            one or more problems in pipeline specs, all listed
    │   ├── SettingsError        one or more problems in the environment's settings, all listed
    │   ├── UnknownName          a pipeline, table, stage, run ... that does not exist
    │   ├── OutOfCalendar        a day the source has no data for
    │   ├── NotInstalled         a package is not installed; the message names the extra that brings it
    │   └── ClusterRefused       the cluster will never run this: rights, image, another Python
    ├── Refused                  the data or the model is not good enough: a person must look
    │   ├── LandingRefused       a landed file is corrupt, or its columns are not the declared ones
    │   │   └── ExtractsRefused  ... of some sources; the extracts of the others are landed
    │   ├── BuildFailed          dbt models or tests failed
    │   │   └── PipelinesStopped ... and pipelines that do not need them may go on
    │   ├── ValidationFailed     a critical expectation failed
    │   ├── LookAhead            rows contain values that were not known at the day's cutoff
    │   ├── ContractBroken       a column's values do not fit its role in the spec: docs/roles.md
    │   ├── SchemaMismatch       staged rows do not fit the lake table
    │   ├── SignatureMismatch    the model and the features do not match
    │   ├── KeysRepeated         several rows have the same key, which must be unique
    │   ├── StagingGone          the rows that a run staged no longer exist: score the day again
    │   ├── PinLost              pinned data was deleted or changed
    │   ├── AuditFailed          staged predictions are outside the audit's thresholds
    │   ├── NoChampion           no model version was champion on the day
    │   ├── ModelGone            the recorded model is no longer in the registry
    │   ├── GateRefused          the challenger is below the gate's floor and must not be promoted
    │   ├── TrainingFailed       no candidate could be trained
    │   ├── OutOfMemory          an executor or the driver ran out of memory
    │   └── JobFailed            a Spark job failed in its own code or on its data
    ├── PublishConflict          another run published the day first: nothing was overwritten
    ├── StorageFull              the disk or the quota is full: nothing was published
    └── Unavailable              a service or an input is not available yet: a retry may succeed
        ├── TrackerUnavailable   MLflow does not answer
        ├── LakeUnavailable      the lake's storage does not answer
        ├── WarehouseBusy        another process holds the warehouse
        ├── ClusterUnavailable   the Spark master does not answer, or gives no executors
        │   └── QuotaUsedUp      the namespace's quota is used up until other pods end
        ├── ExecutorsLost        executors died during a job more often than Spark replaces them
        ├── ExtractsUnavailable  a source does not answer; the extracts of the others are landed
        └── UpstreamMissing      a table or a day that an earlier stage has not published yet
            └── ExtractsMissing  extracts of some sources are missing; those of the others are landed

Messages are sentences: what failed, on which pipeline, table and day, and what to do.
Only `Unavailable` is retried by the orchestration.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType


class TailraceError(Exception):
    """Base of every error that Tailrace raises on purpose."""


class BadInput(TailraceError):
    """The request cannot be fulfilled as it was made.

    What to do: correct the request as the message says.
    """


class ProblemList(BadInput):
    """Several problems found in one pass.

    `problems` holds one sentence each; the message lists them all.
    """

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in self.problems)]))


class SpecError(ProblemList):
    """Pipeline specs are wrong; each of the `problems` names a pipeline and a field.

    What to do: correct each problem in `pipelines/<name>.py`, then run `tailrace check`.
    """


class SettingsError(ProblemList):
    """Environment settings are wrong; each of the `problems` names a variable.

    What to do: correct each problem in `tailrace.toml` or in the variable, then run `tailrace check`.
    """


class UnknownName(BadInput):
    """A name that does not exist. The message suggests the nearest one that does.

    What to do: use the name that the message suggests; `tailrace list` shows the pipelines.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        listed = f" Known: {', '.join(self.known)}." if self.known else " There are none yet."
        suggestion = did_you_mean(name, self.known)
        super().__init__(f"There is no {kind} {name!r}.{suggestion}{listed}{' ' + hint if hint else ''}")


class OutOfCalendar(BadInput):
    """A day for which the source has no data.

    What to do: use a day of the calendar; the message names its first and last day.
    """


class NotInstalled(BadInput):
    """The chosen feature needs a package that is not installed; the message names the extra that brings it.

    What to do: install the extra, as in `pip install 'tailrace[spark]'`.
    """


class ClusterRefused(BadInput):
    """The cluster will never run this request, however often it is repeated.

    What to do: the message says which right, image or version is missing; give it to the cluster or change the
    setting.
    """


class Refused(TailraceError):
    """Data or a model did not pass a check; a retry would fail in the same way.

    What to do: read what was refused and by how much, correct the data, the model or the limit, and run the same
    day again.
    """


class LandingRefused(Refused):
    """A landed file is corrupt, or its columns are not the declared ones.

    What to do: get the extract again from its source, land it (`tailrace run ingest`), and build the day again.
    """


class ExtractsRefused(LandingRefused):
    """Extracts of some sources were refused; those of the others are landed.

    `tables` has a sentence for each table of these sources. The pipelines that do not read them may go on.

    What to do: get the extracts again from their source, then run the days again.
    """

    tables: Mapping[str, str] = MappingProxyType({})


class BuildFailed(Refused):
    """A dbt model or test failed.

    What to do: correct the model or its rows. The next build of the day starts with the models that failed.
    """


class PipelinesStopped(BuildFailed):
    """dbt models or tests failed, and stop some of the pipelines; the others may go on.

    `stopped` has a sentence for each pipeline that may not go on: which node stopped it, and what dbt said.

    What to do: correct the node that is named for each pipeline, and build the day again. The other pipelines need
    nothing.
    """

    stopped: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, stopped: Mapping[str, str] | None = None) -> None:
        self.stopped = dict(stopped or {})
        super().__init__(message)


class ValidationFailed(Refused):
    """A critical expectation failed.

    What to do: read the rows in the Data Docs. Correct the table in dbt, or the expectation if it is wrong, and
    build the day again.
    """


class LookAhead(Refused):
    """Rows contain a value that was not known at the cutoff of their day.

    What to do: correct the mart so that it uses only what was known at the cutoff, or correct its `known_at`.
    """


class ContractBroken(Refused):
    """A column's values do not fit its role in the spec: label, key, time or feature.

    What to do: correct the dbt model; docs/roles.md has the rules.
    """


class SchemaMismatch(Refused):
    """Staged rows do not have the columns, types or day of the lake table.

    What to do: give the columns the types that the table has, or see the message for how a column is added.
    """


class SignatureMismatch(Refused):
    """The columns that a model was trained on differ from the columns that it receives.

    What to do: train a model on the present columns, or give the mart its former columns again.
    """


class KeysRepeated(Refused):
    """Several rows have the same key, which must be unique: a join would multiply them.

    What to do: make the mart one row for each key and day, or add the missing column to the key.
    """


class StagingGone(Refused):
    """The rows that a run staged no longer exist: they have since been published, refused or replaced.

    What to do: score the day again: `tailrace predict PIPELINE --date DAY`.
    """


class PinLost(Refused):
    """Pinned data was deleted or changed.

    What to do: restore the lake from a backup. Without one, this training cannot be repeated.
    """


class AuditFailed(Refused):
    """Staged predictions are outside the audit's thresholds.

    What to do: see which limit the day is beyond. Correct the features and predict again, or change `audit` in the
    spec. What was published before stays published.
    """


class NoChampion(Refused):
    """No model version was champion on the requested day.

    What to do: train (`tailrace train`), or make a version champion from an earlier day on (`tailrace promote
    --from`).
    """


class ModelGone(Refused):
    """The recorded model is not in the registry: it was deleted, or its number now belongs to another model.

    What to do: restore the registry, roll back, or train again;
    docs/approvals.md#when-a-champions-model-is-missing says how.
    """


class GateRefused(Refused):
    """The challenger is below the gate's floor and must not be promoted.

    What to do: improve the model, or change `gate` in the spec and train again.
    """


class TrainingFailed(Refused):
    """No candidate could be trained on the available data.

    What to do: the message has the reason of each candidate. Often the window has too few rows, or one class only.
    """


class OutOfMemory(Refused):
    """An executor or the driver needed more memory than its settings allow.

    What to do: raise the memory that the message names, such as `spark.executor_memory`.
    """


class JobFailed(Refused):
    """A Spark job failed in its own code or on its data.

    What to do: the message has the reason of the job; Spark's log (`spark.log`) has the rest.
    """


class PublishConflict(TailraceError):
    """Another run published this day after this one was staged.

    What to do: nothing, if the other run's predictions are right. Otherwise predict the day again.
    """


class StorageFull(TailraceError):
    """Writing stopped because the disk or the quota is full.

    What to do: free space, then run the same command again. `tailrace maintain` deletes files that are not needed.
    """


class Unavailable(TailraceError):
    """A service or an input is not available yet; the same call may succeed later.

    What to do: wait for what is missing; Airflow tries again by itself. On the command line, run the command again.
    """


class TrackerUnavailable(Unavailable):
    """The MLflow server does not answer.

    What to do: start the server, or correct `tracking_uri`.
    """


class LakeUnavailable(Unavailable):
    """The lake's storage does not answer.

    What to do: see whether the object store answers, and whether address and credentials are right.
    """


class WarehouseBusy(Unavailable):
    """Another process holds the warehouse file.

    What to do: wait until the other process has ended. A notebook or a database tool that has the DuckDB file open
    must close it.
    """


class ClusterUnavailable(Unavailable):
    """The Spark master does not answer, or gives no executors.

    What to do: see whether the master runs and has free executors; `spark.executor_wait_seconds` says how long to
    wait.
    """


class QuotaUsedUp(ClusterUnavailable):
    """The Kubernetes namespace's quota is used up until other pods end.

    What to do: wait for the other pods, or raise the quota.
    """


class ExecutorsLost(Unavailable):
    """Executors died during a job more often than Spark replaces them.

    What to do: see why they died in Spark's log; often they need more `spark.executor_memory_overhead`.
    """


class UpstreamMissing(Unavailable):
    """An earlier stage has not published this table or day yet.

    What to do: run the stage that makes it; the message has the command.
    """


class ExtractsMissing(UpstreamMissing):
    """Extracts of some sources are missing; those of the others are landed.

    `tables` has a sentence for each table of these sources. The pipelines that do not read them may go on.

    What to do: nothing, if the source delivers later: Airflow tries again by itself. Otherwise see what the source
    says.
    """

    tables: Mapping[str, str] = MappingProxyType({})


class ExtractsUnavailable(Unavailable):
    """A source does not answer at present; the extracts of other sources are landed.

    `tables` has a sentence for each table of the sources that failed. The pipelines that do not read them may go on.

    What to do: nothing at first: Airflow tries again by itself. If it lasts, see whether the source answers.
    """

    tables: Mapping[str, str] = MappingProxyType({})


def cause_of(error: BaseException, length: int = 300) -> str:
    """Another library's error message, for use in our own sentence: one line, never empty, without a colon at the end.

    It is the first line, plus the following lines as long as each line is a heading (ends with a colon or with #).
    """
    lines: list[str] = []
    for line in filter(None, map(str.strip, str(error).splitlines())):
        lines.append(line)
        if not line.endswith((":", "#")):
            break
    return " ".join(lines)[:length].rstrip(" :") or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest known name, or the empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def rebuilt(name: str, message: str) -> TailraceError | None:
    """The error of that class with its complete message, as sent by another process; None if the class is not ours.

    It bypasses __init__: some classes build their message from parts, and here it is already complete.
    """
    kind = globals().get(name)
    return kind.__new__(kind, message) if isinstance(kind, type) and issubclass(kind, TailraceError) else None
