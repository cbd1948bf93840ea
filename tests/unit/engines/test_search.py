"""The search: which jobs it asks for, and what becomes of their outcomes, wherever they run."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tailrace.contracts import Trial
from tailrace.engines import search as searching
from tailrace.engines.local import LocalEngine
from tailrace.engines.search import Job, TrialResult, best_of, in_threads, refit, run_job, search, trial_rows
from tailrace.engines.sklearn_fits import _shares_a_generator
from tailrace.errors import BadInput, TrainingFailed
from tailrace.problems.regression import Regression
from tailrace.spec import LABEL, Candidate, Estimator, FloatRange, PipelineSpec, SearchBudget
from tailrace.training.arrow_rows import ArrowRows
from tests.support import churn_rows

TREES = Candidate(
    "trees", "xgboost.XGBClassifier", {"n_estimators": 80}, {"learning_rate": FloatRange(1e-6, 0.5, log=True)}
)
HINGE = {"loss": "hinge", "max_iter": 200}
HISTOGRAMS = Candidate("histograms", "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 10})


@pytest.fixture
def labels(rows) -> np.ndarray:
    return rows[1].to_numpy(zero_copy_only=False)


class Scripted:
    """Runs nothing: every job completes with its place in the order as its value."""

    def __init__(self, states: dict[int, str] | None = None) -> None:
        self.rounds: list[list[Job]] = []
        self.states = states or {}
        self.count = 0

    def __call__(self, jobs):
        self.rounds.append(list(jobs))
        for _ in jobs:
            state = self.states.get(self.count, "complete")
            yield TrialResult(
                state=state,
                value=float(self.count) if state == "complete" else None,
                found={},
                seconds=0.1,
                reports=((20, self.count / 10),),
            )
            self.count += 1


def searched(spec: PipelineSpec, run, trials=20, seed=1) -> tuple[Trial, ...]:
    told: list[Trial] = []
    found = search(spec, seed=seed, trials=trials, run=run, on_trial=told.append)
    assert found == tuple(told)
    return found


def what_counts(trials):
    return [(trial.number, trial.candidate, trial.parameters, trial.value, trial.state) for trial in trials]


def test_a_round_of_every_candidate_is_asked_for_at_once(spec):
    run = Scripted()
    trials = searched(spec, run, trials=13)
    asked = [[job.candidate.name for job in jobs] for jobs in run.rounds]
    first = ["baseline"] + ["logistic"] * 4 + ["trees"] * 4
    assert asked == [first, ["logistic"] * 2 + ["trees"] * 2]
    assert [trial.candidate for trial in trials] == [name for names in asked for name in names]
    assert [trial.number for trial in trials] == list(range(13))


def test_trials_are_told_while_their_round_still_runs(spec):
    told: list[Trial] = []

    def run(jobs):
        for position, _ in enumerate(jobs):
            assert len(told) == position
            yield TrialResult(state="complete", value=0.5, found={}, seconds=0.1)

    search(spec, seed=1, trials=3, run=run, on_trial=told.append)
    assert len(told) == 3


def test_a_job_knows_the_completed_trials_of_its_candidates_earlier_rounds(spec):
    run = Scripted({1: "pruned", 2: "failed"})
    searched(replace(spec, candidates=(TREES,)), run, trials=8)
    first, second = run.rounds
    assert all(job.finished == () for job in first)
    assert [[outcome.value for outcome in job.finished] for job in second] == [[0.0, 3.0]] * 4


def test_what_was_reported_of_pruned_trials_guides_the_search(spec):
    """Past its first random rounds, the sampler ranks pruned trials by what they reported last."""

    def drawn(good: int):
        def run(jobs):
            for job in jobs:
                place = len(seen)
                seen.append(job.parameters["learning_rate"])
                yield TrialResult(
                    state="pruned", value=None, found={}, seconds=0.1, reports=((30, 0.1 if place == good else 0.9),)
                )

        seen: list[float] = []
        with pytest.raises(TrainingFailed, match="none of 20 trials completed"):
            searched(replace(spec, candidates=(TREES,)), run, trials=20)
        return seen

    one, other = drawn(good=0), drawn(good=5)
    assert one[:8] == other[:8]
    assert one[8:] != other[8:]


def test_no_round_begins_after_the_deadline_but_every_candidate_has_its_first(spec):
    run = Scripted()
    trials = searched(replace(spec, search=SearchBudget(seconds=0)), run, trials=30)
    assert len(run.rounds) == 1
    assert {trial.candidate for trial in trials} == {"baseline", "logistic", "trees"}


def test_jobs_and_outcomes_travel(spec, rows, labels):
    job = Job(TREES, {"n_estimators": 30, "learning_rate": 0.2})
    outcome = run_job(spec, trial_rows(spec, rows[0], labels), 1, pickle.loads(pickle.dumps(job)))
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert outcome.state == "complete"
    assert [step for step, _ in outcome.reports] == [10, 20, 30]


def test_a_job_is_pruned_by_what_it_is_given(spec, rows, labels):
    data = trial_rows(spec, rows[0], labels)
    better = run_job(spec, data, 1, Job(TREES, {"n_estimators": 80, "learning_rate": 0.2}))
    hopeless = {"n_estimators": 80, "learning_rate": 1e-6}
    assert run_job(spec, data, 1, Job(TREES, hopeless, (better,) * 3)).state == "complete"
    pruned = run_job(spec, data, 1, Job(TREES, hopeless, (better,) * 4))
    assert (pruned.state, pruned.value, [step for step, _ in pruned.reports]) == ("pruned", None, [10, 20])


def test_rows_are_compared_on_in_one_batch_however_they_are_cut(spec, rows, labels):
    """Predicted in other batches, a network's or a regression's scores differ in their last digits."""
    chunked = pa.Table.from_batches(rows[0].to_batches(max_chunksize=7))
    (whole,), (pieces,) = (trial_rows(spec, table, labels).watch.to_batches() for table in (rows[0], chunked))
    assert whole.equals(pieces)


@pytest.mark.parametrize(
    ("labels", "part"), [([True] * 10, "8 learning"), ([True] * 7 + [False] * 1 + [True] * 2, "2 comparison")]
)
def test_one_class_cannot_be_compared_on(spec, labels, part):
    with pytest.raises(TrainingFailed, match=f"{part} rows have only one class"):
        trial_rows(spec, churn_rows(10)[0], np.array(labels))


def test_the_threads_of_the_machine_change_neither_trials_nor_model(spec, rows, labels):
    spec = replace(spec, candidates=(HISTOGRAMS, spec.candidates[1]))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            with in_threads(spec, trial_rows(spec, rows[0], labels), 1, workers=threads) as run:
                trials = searched(spec, run, trials=6)
            histograms = next(trial for trial in trials if trial.candidate == HISTOGRAMS.name)
            model = refit(spec, histograms, rows[0], labels, seed=1, threads=threads)
            found.append((what_counts(trials), model.digest()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        ("sklearn.svm.LinearSVC", HINGE),
        ("sklearn.ensemble.StackingClassifier", {"estimators": [("svm", Estimator("sklearn.svm.LinearSVC", HINGE))]}),
    ],
)
def test_fits_of_liblinear_at_the_same_time_do_not_disturb_each_other(spec, rows, labels, estimator, parameters):
    """It draws from one random generator of the process."""
    spec = replace(spec, candidates=(Candidate("svm", estimator, parameters),))
    data, jobs = trial_rows(spec, rows[0], labels), [Job(spec.candidates[0], parameters)] * 4
    found = set()
    for workers in (1, 4):
        with in_threads(spec, data, 1, workers=workers) as run:
            found |= {outcome.value for outcome in run(jobs)}
    assert len(found) == 1
    best = Trial(number=0, candidate="svm", parameters=parameters, value=0.0, state="complete", seconds=0.0)
    assert len({refit(spec, best, rows[0], labels, seed=1, threads=threads).digest() for threads in (1, 2)}) == 1


def test_what_draws_from_the_generator_of_the_process_is_found_in_any_part():
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import LinearSVC

    plain, liblinear = LogisticRegression(), LogisticRegression(solver="liblinear")
    for estimator, shared in (
        (plain, False),
        (liblinear, True),
        (CalibratedClassifierCV(LinearSVC()), True),
        (VotingClassifier([("one", plain), ("two", Pipeline([("svm", LinearSVC())]))]), True),
        (VotingClassifier([("one", plain), ("two", DummyClassifier())]), False),
        (FunctionTransformer(kw_args={"inner": [liblinear]}), True),
    ):
        assert _shares_a_generator(Pipeline([("scale", StandardScaler()), ("it", estimator)])) is shared


def test_each_trial_has_one_thread(spec, rows, labels, monkeypatch):
    def threads(*_):
        return {library["num_threads"] for library in threadpool_info()}

    monkeypatch.setattr(searching, "run_job", threads)
    with threadpool_limits(2), in_threads(spec, trial_rows(spec, rows[0], labels), 1, workers=2) as run:
        assert list(run([Job(TREES, {})] * 2)) == [{1}, {1}]


def test_an_error_ends_the_search_without_running_what_is_waiting(spec, rows, labels, monkeypatch):
    ran = []
    original = searching.run_job

    def counted(*args):
        ran.append(args)
        return original(*args)

    monkeypatch.setattr(searching, "run_job", counted)

    def refuse(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), in_threads(spec, trial_rows(spec, rows[0], labels), 1, workers=1) as run:
        search(spec, seed=1, trials=9, run=run, on_trial=refuse)
    assert len(ran) < 9


def test_the_earliest_of_equals_wins(spec):
    def trial(number, value, state="complete"):
        return Trial(number=number, candidate="trees", parameters={}, value=value, state=state, seconds=0.1)

    trials = [trial(0, None, "failed"), trial(1, 0.4), trial(2, 0.3), trial(3, 0.3)]
    assert best_of(spec, trials).number == 2
    assert best_of(replace(spec, search=SearchBudget(metric="roc_auc")), trials).number == 1


@pytest.mark.parametrize("estimator", ["xgboost.spark.SparkXGBClassifier", "pyspark.ml.classification.GBTClassifier"])
def test_a_distributed_candidate_needs_the_other_engine(spec, rows, estimator):
    spec = replace(spec, candidates=(*spec.candidates, Candidate("wide", estimator)))
    held = ArrowRows(rows[0].append_column(LABEL, rows[1]), tuple(spec.features.columns))
    with pytest.raises(BadInput, match=rf"churn: 'wide' \({estimator}\) .* TAILRACE_ENGINE=spark"):
        LocalEngine().train(spec, held, seed=1, trials=4, on_trial=lambda trial: None)


def test_a_trial_with_an_infinite_metric_fails(spec, rows):
    """The squares of its errors are beyond the largest number: all such trials would be alike."""
    linear = Candidate("linear", "sklearn.linear_model.LinearRegression")
    asked = replace(
        spec,
        outcome=replace(spec.outcome, problem=Regression()),
        search=SearchBudget(metric="rmse"),
        candidates=(linear,),
    )
    data = trial_rows(asked, rows[0], np.linspace(-1e200, 1e200, rows[0].num_rows))
    ended = run_job(asked, data, 1, Job(linear, {}))
    assert (ended.state, ended.found["error"]) == ("failed", "rmse is infinite on the comparison rows")
