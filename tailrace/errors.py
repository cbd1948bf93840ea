"""Every error Tailrace raises on purpose.

    TailraceError
    ├── BadInput                 what was asked for cannot be: exit code 2, never retried
    │   ├── SpecError            one or more problems in pipeline specs, all listed
    │   ├── SettingsError        one or more problems in the environment's settings, all listed
    │   ├── UnknownName          a pipeline, table, stage, run ... that does not exist
    │   ├── OutOfCalendar        a day the source has no data for
    │   ├── NotInstalled         a package of an extra, which the sentence names, is not installed
    │   └── ClusterRefused       the cluster will never run this: rights, image, another Python
    ├── Refused                  the data or the model is not good enough: a person must look
    │   ├── LandingRefused       a landed file is corrupt, or its columns are not the declared ones
    │   ├── BuildFailed          dbt models or tests failed
    │   ├── ValidationFailed     a critical expectation failed
    │   ├── LookAhead            rows carry what was not known when they were due
    │   ├── ContractBroken       a column does not hold what its role in the spec needs: docs/roles.md
    │   ├── SchemaMismatch       staged rows do not fit the lake table
    │   ├── SignatureMismatch    the model and the features do not fit each other
    │   ├── KeysRepeated         rows that must be unique by key are not
    │   ├── StagingGone          what a run staged is no longer there: score the day again
    │   ├── PinLost              the bytes that were pinned are gone or were altered
    │   ├── AuditFailed          staged predictions are outside the audit's thresholds
    │   ├── NoChampion           no model version was in force on the day
    │   ├── ModelGone            the model that was recorded is not in the registry any more
    │   ├── GateRefused          the challenger is below the gate's floor: nobody may promote it
    │   ├── TrainingFailed       no candidate could be trained
    │   ├── OutOfMemory          an executor or the driver needed more memory than it was given
    │   └── JobFailed            a Spark job failed in its own code or on its data
    ├── PublishConflict          another run published the day first: nothing was overwritten
    ├── StorageFull              the disk or the quota is full: nothing was published
    └── Unavailable              a service or an input is not there yet: worth a retry
        ├── TrackerUnavailable   MLflow does not answer
        ├── LakeUnavailable      the lake's storage does not answer
        ├── WarehouseBusy        another process holds the warehouse
        ├── ClusterUnavailable   the Spark master does not answer, or gives no executors
        │   └── QuotaUsedUp      the namespace's quota is used up: others must end first
        ├── ExecutorsLost        executors died in mid-job more often than Spark replaces them
        └── UpstreamMissing      a table or a day that an earlier stage has not published yet

Messages are sentences: what failed, on which pipeline, table and day, and what to do.
Only `Unavailable` is retried by the orchestration.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class TailraceError(Exception):
    """Base of every error that Tailrace raises on purpose."""


class BadInput(TailraceError):
    """What was asked for cannot be done as asked."""


class ProblemList(BadInput):
    """Several problems found in one pass.

    `problems` holds one sentence each; the message lists them all.
    """

    def __init__(self, heading: str, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([heading, *(f"  - {problem}" for problem in self.problems)]))


class SpecError(ProblemList):
    """Pipeline specs are wrong; `problems` names pipeline and field of each."""


class SettingsError(ProblemList):
    """Environment settings are wrong; `problems` names the variable of each."""


class UnknownName(BadInput):
    """A name that does not exist. The message suggests the nearest one that does."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        listed = f" Known: {', '.join(self.known)}." if self.known else " There are none yet."
        suggestion = did_you_mean(name, self.known)
        super().__init__(f"There is no {kind} {name!r}.{suggestion}{listed}{' ' + hint if hint else ''}")


class OutOfCalendar(BadInput):
    """A day for which the source holds no data."""


class NotInstalled(BadInput):
    """What was chosen needs a package that is not installed; the message names the extra that brings it."""


class ClusterRefused(BadInput):
    """The cluster will not run what it was asked to, however often it is asked."""


class Refused(TailraceError):
    """Data or model did not pass a check; trying again changes nothing."""


class LandingRefused(Refused):
    """A landed file is corrupt, or its columns are not the declared ones."""


class BuildFailed(Refused):
    """A dbt model or test failed."""


class ValidationFailed(Refused):
    """A critical expectation failed."""


class LookAhead(Refused):
    """Rows carry a value that was not known when they were due."""


class ContractBroken(Refused):
    """A column does not hold what its role in the spec needs: label, key, time or feature."""


class SchemaMismatch(Refused):
    """Staged rows do not have the columns, types or day of the lake table."""


class SignatureMismatch(Refused):
    """The columns a model was trained on and the columns it is given differ."""


class KeysRepeated(Refused):
    """Rows that must be unique by key are not: joined by it, they would multiply."""


class StagingGone(Refused):
    """What a run staged is no longer there: it was published, refused or replaced since."""


class PinLost(Refused):
    """The bytes that were pinned are gone or were altered."""


class AuditFailed(Refused):
    """Staged predictions are outside the audit's thresholds."""


class NoChampion(Refused):
    """No model version was in force on the day asked for."""


class ModelGone(Refused):
    """The model that was recorded is not in the registry: it was deleted, or its number is another model's now."""


class GateRefused(Refused):
    """The challenger is below the gate's floor: nobody may promote it."""


class TrainingFailed(Refused):
    """No candidate could be trained on the data there is."""


class OutOfMemory(Refused):
    """An executor or the driver needed more memory than its settings give it."""


class JobFailed(Refused):
    """A Spark job failed in its own code or on its data."""


class PublishConflict(TailraceError):
    """Another run published this day after this one was staged."""


class StorageFull(TailraceError):
    """Writing stopped because the disk or the quota is full."""


class Unavailable(TailraceError):
    """A service or an input is not there yet; the same call may work later."""


class TrackerUnavailable(Unavailable):
    """The MLflow server does not answer."""


class LakeUnavailable(Unavailable):
    """The lake's storage does not answer."""


class WarehouseBusy(Unavailable):
    """Another process holds the warehouse file."""


class ClusterUnavailable(Unavailable):
    """The Spark master does not answer, or gives no executors."""


class QuotaUsedUp(ClusterUnavailable):
    """The Kubernetes namespace's quota has no room until other pods end."""


class ExecutorsLost(Unavailable):
    """Executors died in mid-job more often than Spark replaces them."""


class UpstreamMissing(Unavailable):
    """An earlier stage has not published this table or day yet."""


def cause_of(error: BaseException, length: int = 300) -> str:
    """What another library's error says, for a sentence of ours: on one line, never empty, never ending at a colon.

    It is the first line, and the following ones as long as each is a heading: it ends with a colon, or with #.
    """
    said: list[str] = []
    for line in filter(None, map(str.strip, str(error).splitlines())):
        said.append(line)
        if not line.endswith((":", "#")):
            break
    return " ".join(said)[:length].rstrip(" :") or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' Did you mean X?' for the nearest known name, or the empty string."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def rebuilt(name: str, message: str) -> TailraceError | None:
    """The error of that class with its finished message, as another process handed it over; None for no class of ours.

    Not through __init__: some classes make their message of parts, and here it is whole.
    """
    kind = globals().get(name)
    return kind.__new__(kind, message) if isinstance(kind, type) and issubclass(kind, TailraceError) else None
