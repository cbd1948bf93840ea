"""What cannot be trained, scored with or stored is found in small, before hours are spent on it."""

# ruff: noqa: TID253 - estimators of scikit-learn are what these tests are about.

from __future__ import annotations

from dataclasses import replace

import pytest
from sklearn.linear_model import LogisticRegression

from pipelines.flight_delay import SPEC as FLIGHTS
from tailrace.contracts import DryRun
from tailrace.engines import dry_run, sklearn_models
from tailrace.engines.distributed_models import NotConverted
from tailrace.engines.estimators import fit
from tailrace.engines.local import LocalEngine
from tailrace.engines.memory import BaseRate
from tailrace.engines.search import Job
from tailrace.engines.spark.engine import SparkEngine
from tailrace.errors import ExecutorsLost
from tailrace.settings import SparkSettings
from tailrace.spec import LABEL, Candidate, Choice, FloatRange, IntRange, SearchBudget
from tailrace.training.arrow_rows import ArrowRows

DICE = Candidate("dice", "sklearn.neighbors.KNeighborsClassifier", {"algorithm": "ball_tree", "metric": "dice"})
"""Its distance is none of the types that are trusted."""
CODES = Candidate("it", "sklearn.multiclass.OutputCodeClassifier", {"estimator": LogisticRegression()})
XGB = "xgboost.XGBClassifier"
LOGISTIC = "sklearn.linear_model.LogisticRegression"
FOREST = Candidate("wide", "pyspark.ml.classification.RandomForestClassifier", {"numTrees": 500})


def problems(spec, *candidates: Candidate) -> list[str]:
    return dry_run.problems(replace(spec, candidates=candidates))


def test_the_catalog_has_no_problems(spec):
    assert dry_run.problems(FLIGHTS) == []
    assert problems(spec, *spec.candidates, FOREST) == []


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (LocalEngine(), "the engine is 'local'"),
        (SparkEngine(SparkSettings(java_home="/nowhere")), "Spark needs Java 17 or newer, but none was found"),
    ],
    ids=["local", "without Java"],
)
def test_a_check_without_a_cluster_says_which_candidates_were_not_tried(spec, engine, why):
    found = engine.dry_run([replace(spec, candidates=(*spec.candidates[:1], FOREST))])
    assert found.problems == ()
    (note,) = found.notes
    assert note.startswith(f"churn: trained on a cluster, so checked by name and parameters only ({why}")
    assert f"'wide' ({FOREST.estimator}). The dry run comes before the search on the engine 'spark'." in note
    assert "baseline" not in note


def test_nothing_is_said_of_specs_without_such_candidates(spec):
    for engine in (LocalEngine(), SparkEngine(SparkSettings(java_home="/nowhere"))):
        assert engine.dry_run([replace(spec, candidates=spec.candidates[:1])]) == DryRun()


def one_machine(spec, tried, error=None):
    """How candidates of a cluster are fitted, by an estimator of this machine."""

    def fitted(candidate, parameters, rows, labels):
        tried.append((candidate.name, parameters, rows.num_rows))
        if error is not None:
            raise error
        return fit(spec, spec.candidates[0], spec.candidates[0].parameters, rows=rows, labels=labels, seed=1, threads=1)

    return fitted


def test_candidates_of_a_cluster_are_tried_where_it_is_said_how_they_are_fitted(spec, rows):
    depths = replace(FOREST, search={"maxDepth": Choice((2, 3)), "minInfoGain": FloatRange(0.0, 1.0)})
    cluster = replace(spec, candidates=(depths,))
    tried: list = []
    assert dry_run.problems(cluster, one_machine(spec, tried)) == []
    few = {"numTrees": 5, "minInfoGain": 0.0}
    assert tried == [("wide", {**few, "maxDepth": depth}, dry_run.SMALL) for depth in (2, 3)]
    table, labels = rows
    tried.clear()
    refused = dry_run.refusals(
        cluster, table, labels.to_numpy(zero_copy_only=False), one_machine(spec, tried, NotConverted("of no use"))
    )
    assert [parameters["maxDepth"] for _, parameters, _ in tried] == [2, 3]
    assert refused(Job(depths, {"numTrees": 500, "maxDepth": 7})) == "of no use"


def test_what_cannot_be_scored_with_on_a_cluster_is_refused(spec, rows):
    table, labels = rows
    refused = dry_run.refusals(
        replace(spec, candidates=(FOREST,)),
        table,
        labels.to_numpy(zero_copy_only=False),
        lambda *args: BaseRate(spec.problem, [float("nan")], spec.features.columns),
    )
    assert refused(Job(FOREST, FOREST.parameters)) == "some of its predictions are NaN"


def test_what_cannot_be_fitted_on_a_cluster_in_small_is_left_to_its_trial(spec, rows):
    table, labels = rows
    cluster = replace(spec, candidates=(FOREST,))
    failing = one_machine(spec, [], ValueError("too few rows"))
    refused = dry_run.refusals(cluster, table, labels.to_numpy(zero_copy_only=False), failing)
    assert refused(Job(FOREST, FOREST.parameters)) is None
    assert dry_run.problems(cluster, failing) == ["churn: candidates['wide'] cannot be fitted: too few rows"]


def test_an_outage_is_no_fault_of_the_candidate(spec):
    with pytest.raises(ExecutorsLost):
        dry_run.problems(replace(spec, candidates=(FOREST,)), one_machine(spec, [], ExecutorsLost("gone")))


def test_further_sets_of_a_cluster_candidate_are_tried_while_there_is_time(spec, rows, monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", -1)
    tried: list = []
    many = replace(FOREST, search={"maxDepth": Choice((2, 3, 4))})
    table, labels = rows
    dry_run.refusals(
        replace(spec, candidates=(many,)), table, labels.to_numpy(zero_copy_only=False), one_machine(spec, tried)
    )
    assert [parameters["maxDepth"] for _, parameters, _ in tried] == [2]


@pytest.mark.parametrize(
    ("estimator", "parameters", "expected"),
    [
        (CODES.estimator, CODES.parameters, "cannot be fitted: OutputCodeClassifier gives neither probabilities nor"),
        (LOGISTIC, {"C": -1}, "cannot be fitted: The 'C' parameter"),
        (XGB, {"n_estimators": 0}, "cannot be fitted: n_estimators is 0; at least 1 boosting round is needed"),
        (XGB, {"max_depth": "x"}, "cannot be fitted: Invalid Parameter format for max_depth"),
        (XGB, {"booster": "gblinear"}, "cannot be fitted: Check failed: !p_fmat->Info().HasCategorical()"),
        (XGB, {"device": "cuda"}, "cannot be fitted: device is 'cuda', but the XGBoost that is installed here has no"),
        (XGB, {"huber_slope": 2.0}, "not be trained as the spec says: XGBoost does not use 'huber_slope'"),
        (
            "sklearn.neighbors.KNeighborsClassifier",
            {"n_neighbors": 9999},
            "cannot be scored with: Expected n_neighbors",
        ),
        (DICE.estimator, DICE.parameters, "cannot be stored: The fitted pipeline contains types that Tailrace"),
    ],
)
def test_a_candidate_that_fails_is_named_with_its_step(spec, estimator, parameters, expected):
    (problem,) = problems(spec, Candidate("it", estimator, parameters))
    assert problem.startswith("churn: candidates['it'] ")
    assert expected in problem


@pytest.mark.parametrize(
    ("estimator", "parameters", "search"),
    [
        ("xgboost.XGBRFClassifier", {"n_estimators": 500}, {}),
        (XGB, {"early_stopping_rounds": 5, "random_state": 3, "max_bin": 16, "gamma": 1}, {}),
        (XGB, {"monotone_constraints": {"age": 1}, "base_score": 0.3, "learning_rate": 0.07, "reg_lambda": 3}, {}),
        ("sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 900}, {}),
        ("sklearn.neural_network.MLPClassifier", {}, {"solver": Choice(("adam", "sgd"))}),
        # Each option works with one of the other's.
        (LOGISTIC, {"l1_ratio": 0.5}, {"penalty": Choice(("l2", "elasticnet")), "solver": Choice(("lbfgs", "saga"))}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_works_has_no_problem(spec, estimator, parameters, search):
    assert problems(spec, Candidate("it", estimator, parameters, search)) == []


def test_an_option_that_never_works_is_named(spec):
    some = {"estimators": [("logistic", LogisticRegression())]}
    votes = Candidate("it", "sklearn.ensemble.VotingClassifier", some, {"voting": Choice(("soft", "hard"))})
    (problem,) = problems(spec, votes)
    assert "candidates['it'].search['voting']: with 'hard' it cannot be fitted: VotingClassifier gives neith" in problem
    assert problem.endswith("Set voting to 'soft'.")


def test_a_check_names_the_classifiers_that_are_calibrated(spec):
    losses = Candidate("sgd", "sklearn.linear_model.SGDClassifier", {}, {"loss": Choice(("log_loss", "hinge"))})
    both = replace(spec, candidates=(*spec.candidates, losses, Candidate("svm", "sklearn.svm.LinearSVC")))
    found = LocalEngine().dry_run([both, spec])
    assert found.problems == ()
    (note,) = found.notes
    assert note == (
        "churn: calibrated by a sigmoid, because it gives no probabilities itself: "
        "'sgd' (sklearn.linear_model.SGDClassifier), 'svm' (sklearn.svm.LinearSVC)."
    )


def test_a_feature_name_that_a_library_refuses_is_found(spec):
    columns = {"plan": "categorical", "wind[mph]": "numeric"}
    named = replace(spec, features=replace(spec.features, columns=columns))
    (problem,) = dry_run.problems(named)
    assert problem.startswith("churn: candidates['trees'] cannot be fitted: feature_names")


def test_texts_alone_are_tried(spec):
    texts = replace(spec, features=replace(spec.features, columns={"note": "text"}))
    histograms = Candidate("histograms", "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 2})
    assert dry_run.problems(replace(texts, candidates=(histograms, spec.candidates[1]))) == []


def test_ranges_are_tried_at_their_lower_end_and_combinations_are_few(spec):
    many = {f"p{number}": Choice((1, 2, 3)) for number in range(5)} | {"n": IntRange(1, 9), "f": FloatRange(0.5, 1)}
    searched = Candidate("it", LOGISTIC, {}, many)
    drawn = list(dry_run._one_by_one(searched))
    assert len(drawn) == 11
    assert {(one["n"], one["f"]) for one in drawn} == {(1, 0.5)}
    assert not [one for one in dry_run._together(searched) if one in drawn]


def test_a_search_does_not_run_what_could_not_be_stored(spec, rows):
    table, labels = rows
    held = ArrowRows(table.append_column(LABEL, labels).slice(0, 300), tuple(spec.features.columns))
    both = replace(spec, candidates=(DICE, spec.candidates[0]), search=SearchBudget(trials=2))
    trained = LocalEngine(1).train(both, held, seed=1, trials=2, on_trial=lambda trial: None)
    assert [(trial.candidate, trial.state, trial.seconds) for trial in trained.trials][:1] == [("dice", "failed", 0)]
    assert trained.best.candidate == "baseline"
    (sentence,) = trained.not_trained
    assert "dice: 0 of 1 trials completed" in sentence
    assert "does not trust" in sentence


def test_only_the_option_that_could_not_be_stored_is_refused(spec, rows, monkeypatch):
    sgd = "sklearn.neural_network._stochastic_optimizers.SGDOptimizer"
    monkeypatch.setattr(sklearn_models, "TRUSTED", sklearn_models.TRUSTED - {sgd})
    solver = {"solver": Choice(("sgd", "adam"))}
    network = Candidate("it", "sklearn.neural_network.MLPClassifier", {"max_iter": 2}, solver)
    table, labels = rows
    refused = dry_run.refusals(replace(spec, candidates=(network,)), table, labels.to_numpy(zero_copy_only=False))
    assert "SGDOptimizer" in refused(Job(network, {"max_iter": 2, "solver": "sgd"}))
    assert refused(Job(network, {"max_iter": 2, "solver": "adam"})) is None


def test_what_fails_on_a_few_rows_is_left_to_the_trial(spec, rows):
    neighbours = Candidate("it", "sklearn.neighbors.KNeighborsClassifier", {"n_neighbors": 900})
    table, labels = rows
    refused = dry_run.refusals(replace(spec, candidates=(neighbours,)), table, labels.to_numpy(zero_copy_only=False))
    assert refused(Job(neighbours, neighbours.parameters)) is None
