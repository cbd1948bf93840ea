"""The tasks in which the gate or a person decides who is champion: promote, approve or reject, roll back."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import DagRunTriggerException

from tailrace import days
from tailrace.contracts import RunRecord
from tailrace.errors import BadInput
from tailrace.lineage import dag_ids, pins
from tailrace.operations import people
from tailrace.orchestration import assets, decision_forms, task_results
from tailrace.orchestration.stage_task import stage_task
from tailrace.orchestration.task_run import Links, TaskRun
from tailrace.spec import PipelineSpec

if TYPE_CHECKING:
    from tailrace.champions.promotions import Promotion
    from tailrace.operations.baselines import RegisteredBaseline
    from tailrace.work import Work

log = logging.getLogger("tailrace")

APPROVE, REJECT = "Approve", "Reject"
"""The two options for which Airflow shows two buttons."""
NOBODY = "airflow"
"""Who decided where Airflow knows no user, such as on its own command line."""
TRAINING_RUN = "run_id"
"""The key of the training run in the event of a new champion, as earlier releases of Tailrace wrote it."""
CLOCKS = dt.timedelta(minutes=1)
"""By how much a worker's clock and the scheduler's may differ where a decision names no run."""
WAITING = 16
"""Challengers of one pipeline that may wait for an answer side by side."""
AT_ONCE = 1
"""Decisions on one pipeline are made one after another."""

APPROVE_DOC = """### Who is champion of {pipeline}?

Where the gate asks for a person, a training whose challenger passed it starts a run of this DAG. The task *ask* waits
for an answer under **Required Actions**: it shows challenger against champion, and takes *Approve* or *Reject* with a
reason. Who answered is written down in the lake table `promotions`. Without an answer within {days:g} days the
challenger is rejected.

**By hand:** trigger it with a version's number or a training run's id, to let a challenger pass that the gate held
back, or one that was rejected before.
"""
ROLLBACK_DOC = """### Roll {pipeline} back

Makes a former champion champion again: name its **version**, the day **from** which on it scores, and why. What is
published stays as it is until those days are predicted again. `tailrace history {pipeline}` lists the former champions.
"""
BASELINE_DOC = """### Make a baseline of {pipeline} champion

A baseline is a rule of the spec that predicts without having learned: with it, predictions start before there are
labels. Name the **baseline**, the day **from** which on it scores, and why. It is registered as a model version, as
`tailrace promote --baseline` does, and scores until another version takes over.
"""
THRESHOLD_DOC = """### Set the threshold of {pipeline}

Sets the probability from which a decision is true: from a **day** on, with a **reason**, and without a deploy. It is
written down in the lake table `policies`, and stays in force until it is set again or the spec's is edited. What is
published stays as it is: `tailrace stale {pipeline}` lists the published days that have another one.
"""


@stage_task(outlet=assets.model, execution_timeout=dt.timedelta(minutes=30), max_active_tis_per_dag=AT_ONCE)
def promote(run: TaskRun, training_run: str) -> Sequence[Any]:
    """Make the challenger champion; skipped where the champion stays.

    Where the gate asks for a person it promotes nothing: it starts the run of `approve__<pipeline>` that asks one.
    """
    from tailrace.stages import promote as stage

    if run.request.dry_run:
        run.skip("Dry run: the model is trained and judged; who is champion was not touched.")
    # Before anything is decided: afterwards an outage of MLflow's would end in a retry.
    trained = run.services.tracker.run(training_run)
    run.link(_links(trained))
    decided = stage.run(run.work, training_run, recorded_at=dt.datetime.now(dt.UTC))
    if decided.outcome == "waiting":
        run.leave([decided])
        _ask(run.pipeline, training_run)
    if decided.outcome != "promoted":
        run.skip(f"Version {decided.version} is not champion ({decided.outcome}): {decided.reason}")
    if run.outlet:
        run.announce([run.request.day], _champion(decided.version, trained))
    return [decided]


def _champion(version: str, trained: RunRecord) -> dict[str, str]:
    """What the event of a new champion says: who it is, and the pins of what it was trained on."""
    about = {"model_version": version, TRAINING_RUN: trained.training_run}
    return about | {f"{role}_pin": pins.to_json(pin) for role, pin in pins.from_tags(trained.tags).items()}


def _links(trained: RunRecord) -> Links:
    """Where to read about the version that is decided on."""
    return {
        task_results.MLFLOW_RUN: trained.url,
        task_results.REPORT: task_results.evaluation_report(trained.training_run),
    }


def _ask(pipeline: str, training_run: str) -> None:
    """End this task by starting the approval's run; one that is there already is left alone."""
    raise DagRunTriggerException(
        trigger_dag_id=dag_ids.approve(pipeline),
        dag_run_id=f"challenger__{training_run}",
        conf={"training_run": training_run},
        logical_date=None,
        reset_dag_run=False,
        skip_when_already_exists=True,
        wait_for_completion=False,
        allowed_states=[],
        failed_states=[],
        poke_interval=0,
        deferrable=False,
    )


def ask(spec: PipelineSpec) -> Any:
    """A task that waits for a person's answer on the challenger that the run was started with; returns the answer."""
    return Approval(
        task_id="ask",
        pipeline=spec.name,
        training_run="{{ params.training_run }}",
        params={"reason": decision_forms.answer_reason()},
        execution_timeout=dt.timedelta(minutes=30),
        # An answer that comes in the second in which the task starts to wait ends it as lost: ask again at once.
        retry_delay=dt.timedelta(seconds=2),
        retry_exponential_backoff=False,
        response_timeout=dt.timedelta(days=spec.gate.approval_days),
    ).output


class Approval(HITLOperator):
    """Shows a person the challenger against the champion, and waits for the answer without holding a worker.

    Returns the answer: approved, decided_by, reason, decided_at (ISO 8601) and training_run, as the run named it. An
    answer without a reason does not count: the question stays. No answer within the gate's approval_days, however often
    the question was shown, is a rejection.
    """

    template_fields = ("training_run",)

    def __init__(self, *, pipeline: str, training_run: str, **options: Any) -> None:
        super().__init__(subject=f"{pipeline}: who is champion?", options=[APPROVE, REJECT], defaults=REJECT, **options)
        self.pipeline = pipeline
        self.training_run = training_run
        self.note = ""

    def execute(self, context: Any) -> Any:
        """Write the card and wait. Raises UnknownName if there is no such run or version, or it was not evaluated."""
        from tailrace.reporting import approval_card
        from tailrace.stages import evaluate, promote

        run = TaskRun(context, self.pipeline)
        form, wired = run.form, run.services
        training_run = promote.run_of(run.work_without_day, self.training_run)
        links = _links(wired.tracker.run(training_run))
        compared, decision = evaluate.comparison_of(wired, training_run), evaluate.decision_of(wired, training_run)
        against = f"champion version {compared.champion}" if compared.champion else "no champion"
        self.subject = f"{self.pipeline}: version {compared.version} against {against}"
        self.body = self.note + approval_card.write(run.spec, compared, decision, links)
        self.response_timeout = self._left(context)
        if form.get("dry_run"):
            log.info("%s", self.body)
            run.skip(f"Dry run: {self.subject}. The card is above; nobody was asked.", links)
        run.leave([{"version": compared.version, "training_run": training_run, "champion": compared.champion}], links)
        return super().execute(context)

    def _left(self, context: Any) -> dt.timedelta | None:
        """The time left to answer, counted from the start of the DAG run, however often the question is shown."""
        began, whole = context["dag_run"].start_date, self.response_timeout
        if began is None or whole is None:
            return whole
        return max(began + whole - dt.datetime.now(dt.UTC), dt.timedelta(seconds=1))

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer, or ask again."""
        from tailrace.stages import promote

        # Uses no service: if one is away, the task is tried again, and the answer is lost.
        answer = {"training_run": self.training_run, "decided_at": event["responded_at"].isoformat()}
        if event.get("timedout"):
            waited = self.response_timeout or dt.timedelta()
            said = f"Nobody answered within {waited / dt.timedelta(days=1):g} days."
            return answer | {"approved": False, "decided_by": promote.TIMEOUT, "reason": said}
        who = str((event["responded_by_user"] or {}).get("name") or NOBODY)
        reason = people.plain_text((event["params_input"] or {}).get("reason"))
        if not reason or len(event["chosen_options"]) != 1:
            log.warning("%s answered without a reason: the answer does not count, and the question stays.", who)
            self.note = "**The last answer had no reason, so it did not count.** Answer again, with a reason.\n\n"
            return self.execute(context)
        return answer | {"approved": event["chosen_options"] == [APPROVE], "decided_by": who, "reason": reason}


@stage_task(outlet=assets.model, execution_timeout=dt.timedelta(minutes=30), max_active_tis_per_dag=AT_ONCE)
def decide(run: TaskRun, answer: Mapping[str, Any]) -> Sequence[Any]:
    """Carry out an approval's answer; skipped where that is a rejection."""
    from tailrace.stages import promote as stage

    work = run.work_without_day
    carry_out = stage.approve if answer["approved"] else stage.reject
    trained = work.services.tracker.run(stage.run_of(work, answer["training_run"]))
    run.link(_links(trained))
    decided = carry_out(
        work,
        trained.training_run,
        recorded_at=dt.datetime.fromisoformat(answer["decided_at"]),
        decided_by=answer["decided_by"],
        reason=answer["reason"],
    )
    if decided.effective_from is None:
        stays = f"version {decided.previous} stays champion" if decided.previous else "there is no champion yet"
        run.skip(f"Version {decided.version} is rejected by {answer['decided_by']}, {stays}: {decided.reason}")
    extra = _champion(decided.version, trained) | {"decided_by": answer["decided_by"]}
    run.announce([decided.effective_from], extra)
    return [decided]


@stage_task(
    outlet=assets.model,
    reads_own_events=True,
    execution_timeout=dt.timedelta(minutes=30),
    max_active_tis_per_dag=AT_ONCE,
)
def roll_back(run: TaskRun) -> Sequence[Any]:
    """Make a former champion champion again."""
    from tailrace.champions import promotions
    from tailrace.stages import promote as stage

    form, work = run.form, run.work_without_day
    reason = _reason(form, f"{run.pipeline} is not rolled back")
    who = _who(run)
    decided = stage.roll_back(
        work,
        str(form["version"]),
        recorded_at=dt.datetime.now(dt.UTC),
        decided_by=who,
        reason=reason,
        takes_over=_from_day(form),
        dry_run=form["dry_run"],
        airflow_run=run.run_id,
    )
    trained = work.services.tracker.run(stage.run_of(work, decided.version))
    run.link(_links(trained))
    assert decided.effective_from  # noqa: S101  who takes over does so on a day
    current = promotions.history(work.services.lake, work.spec.name)[0]
    if decided.outcome == "kept" and not (_is_own(run, current, who, reason) and _owes_event(run, current)):
        run.skip(decided.reason)
    if form["dry_run"]:
        run.skip(
            f"Dry run: version {decided.version} would be champion from {decided.effective_from} on, in place of "
            f"version {decided.previous}. Nothing changed."
        )
    run.announce([decided.effective_from], _champion(decided.version, trained) | {"decided_by": who})
    return [decided]


@stage_task(
    outlet=assets.model,
    reads_own_events=True,
    execution_timeout=dt.timedelta(minutes=30),
    max_active_tis_per_dag=AT_ONCE,
)
def promote_baseline(run: TaskRun) -> Sequence[Any]:
    """Register a baseline of the spec as a model version, and make it champion."""
    from tailrace.champions import promotions
    from tailrace.operations import baselines
    from tailrace.stages import promote as stage

    form, work, name, now = run.form, run.work_without_day, str(run.form["baseline"]), dt.datetime.now(dt.UTC)
    reason = _reason(form, f"No baseline of {run.pipeline} is promoted")
    first_day = _from_day(form)
    if form["dry_run"]:
        run.skip(_of_baseline(work, baselines.preview(work, name, first_day), now))
    before, who = promotions.history(work.services.lake, work.spec.name), _who(run)
    decided = stage.decided_before(work, run.run_id)
    if decided is None:
        decided = baselines.make_champion(
            work,
            name,
            recorded_at=now,
            decided_by=who,
            reason=reason,
            takes_over=first_day,
            airflow_run=run.run_id,
        )
    trained = work.services.tracker.run(stage.run_of(work, decided.version))
    run.link(_links(trained))
    current = promotions.history(work.services.lake, work.spec.name)[0]
    if before and before[0] == current and not (_is_own(run, current, who, reason) and _owes_event(run, current)):
        already = f"Baseline {name!r} is the champion already: version {decided.version}. Nothing changes."
        run.skip(decided.reason if decided.outcome == "kept" else already)
    assert decided.effective_from  # noqa: S101  who takes over does so on a day
    run.announce([decided.effective_from], _champion(decided.version, trained) | {"decided_by": who})
    return [decided]


def _of_baseline(work: Work, made: RegisteredBaseline, now: dt.datetime) -> str:
    """What a run without *Dry run* would do. Raises BadInput if it would be refused."""
    from tailrace.stages import promote as stage

    champion = stage.refuse_day(work, made.version or "of this baseline", made.day, now)
    version = f"is version {made.version}" if made.version else "would be registered as a new version"
    place = f"in place of version {champion}" if champion else "as the first champion"
    return (
        f"Dry run: baseline {made.baseline!r} {version}, and would be champion from {made.day} on, {place}. Nothing "
        "changed."
    )


@stage_task(execution_timeout=dt.timedelta(minutes=30), max_active_tis_per_dag=AT_ONCE)
def set_threshold(run: TaskRun) -> Sequence[Any]:
    """Set the threshold of the pipeline's decisions from a day on."""
    from tailrace.operations import thresholds

    form = run.form
    reason = _reason(form, f"The threshold of {run.pipeline} is not set")
    decided = thresholds.run(
        run.work_without_day,
        float(form["threshold"]),
        recorded_at=dt.datetime.now(dt.UTC),
        decided_by=_who(run),
        reason=reason,
        effective_from=_from_day(form),
        dry_run=form["dry_run"],
        airflow_run=run.run_id,
    )
    if form["dry_run"]:
        before = "none" if decided.previous is None else f"{decided.previous:g}"
        run.skip(
            f"Dry run: the threshold would be {decided.threshold:g} from {decided.effective_from} on, in place of "
            f"{before}. Nothing changed."
        )
    return [decided]


def _who(run: TaskRun) -> str:
    return getattr(run.context["dag_run"], "triggering_user_name", None) or NOBODY


def _reason(form: Mapping[str, Any], refused: str) -> str:
    """The reason that a person gave. Raises BadInput, in which `refused` says what is not done, if it is empty."""
    if reason := people.plain_text(form["reason"]):
        return reason
    raise BadInput(f"{refused}: the reason is empty. Say why, for the record.")


def _from_day(form: Mapping[str, Any]) -> dt.date | None:
    return days.parse(form["from_day"], "from_day") if form.get("from_day") else None


def _owes_event(run: TaskRun, own: Promotion) -> bool:
    """Whether this run did not announce its decision: the try that made it ended before Airflow knew of it."""
    return not run.announced(own.recorded_at, **{TRAINING_RUN: own.training_run})


def _is_own(run: TaskRun, decision: Promotion, who: str, reason: str) -> bool:
    """Whether this run made the decision."""
    from tailrace.champions import promotions

    made_by = promotions.airflow_run(run.services.lake, decision)
    return made_by == run.run_id if made_by else _looks_own(run.context, decision, who, reason)


def _looks_own(context: Mapping[str, Any], decision: Promotion, who: str, reason: str) -> bool:
    """Whether this run may have made a decision whose commit names no run: earlier versions of Tailrace wrote none."""
    own = (decision.decided_by, decision.reason) == (who, reason)
    return own and decision.recorded_at >= context["dag_run"].run_after - CLOCKS
