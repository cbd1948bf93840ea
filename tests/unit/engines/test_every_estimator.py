"""Every classifier and regressor of scikit-learn is usable, or refused by a true sentence.

Each is checked as `tailrace check` does, fitted on one core and on two, stored, and loaded in a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tailrace import Binary, Candidate, Estimator, Gate, Multiclass, Regression
from tailrace.engines import dry_run
from tailrace.engines.estimators import fit
from tailrace.engines.fingerprint import fingerprint
from tailrace.engines.search import one_thread
from tailrace.engines.sklearn_models import SklearnModel
from tailrace.problems import Problem, as_array
from tailrace.spec import PipelineSpec, problems_of

ROWS = 160
THREE = Multiclass(("a", "b", "c"))
COLUMNS = {"age": "numeric", "visits": "numeric", "plan": "categorical", "city": "categorical"}
TEXTS = {**COLUMNS, "note": "text"}

LOGISTIC, RIDGE = Estimator("sklearn.linear_model.LogisticRegression"), Estimator("sklearn.linear_model.Ridge")
SVM = Estimator("sklearn.svm.LinearSVC")
KERNELS = "sklearn.gaussian_process.kernels"
RBF = Estimator(f"{KERNELS}.RBF", {"length_scale": 2.0})
NOISE = Estimator(f"{KERNELS}.WhiteKernel", {"noise_level_bounds": (1.0, 100.0)})
SEASON = Estimator(f"{KERNELS}.ExpSineSquared", {"periodicity": 1000.0})
TREE = Estimator("sklearn.tree.DecisionTreeClassifier", {"max_depth": 2})
SCALED_SVM = Estimator(
    "sklearn.pipeline.Pipeline", {"steps": [("scale", Estimator("sklearn.preprocessing.MaxAbsScaler")), ("svm", SVM)]}
)


def shared(given: dict[str, Any], *names: str) -> dict[str, dict[str, Any]]:
    return dict.fromkeys(names, given)


FEW: dict[str, dict[str, Any]] = {
    **shared({"n_estimators": 3}, "AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier"),
    **shared({"n_estimators": 3}, "BaggingRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor"),
    **shared({"n_estimators": 3}, "GradientBoostingClassifier", "GradientBoostingRegressor"),
    **shared({"n_estimators": 3}, "RandomForestClassifier", "RandomForestRegressor"),
    **shared({"max_iter": 3}, "HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    **shared({"max_iter": 3, "hidden_layer_sizes": (4,)}, "MLPClassifier", "MLPRegressor"),
    "LogisticRegressionCV": {"Cs": 2, "cv": 2},
    "TheilSenRegressor": {"max_subpopulation": 20},
    "GaussianProcessRegressor": {"alpha": 0.1},
}
"""Smaller ones, to be quick."""

NEEDED: dict[str, dict[str, Any]] = {
    **shared({"estimator": LOGISTIC}, "ClassifierChain", "FixedThresholdClassifier", "MultiOutputClassifier"),
    **shared({"estimator": SVM}, "OneVsOneClassifier", "OneVsRestClassifier", "OutputCodeClassifier"),
    "SelfTrainingClassifier": {"estimator": LOGISTIC},
    "TunedThresholdClassifierCV": {"estimator": LOGISTIC, "thresholds": 5, "cv": 2},
    **shared({"estimator": RIDGE}, "MultiOutputRegressor", "RegressorChain"),
    **shared({"n_components": 1}, "CCA", "PLSCanonical", "PLSRegression"),
    **shared({"radius": 1000.0}, "RadiusNeighborsClassifier", "RadiusNeighborsRegressor"),
    "QuadraticDiscriminantAnalysis": {"reg_param": 0.1},
    "StackingClassifier": {"estimators": [("svm", SVM)]},
    "StackingRegressor": {"estimators": [("ridge", RIDGE)]},
    "VotingClassifier": {"estimators": [("logistic", LOGISTIC)], "voting": "soft"},
    "VotingRegressor": {"estimators": [("ridge", RIDGE)]},
}
"""What an estimator cannot be without on these rows."""

SEVERAL = "learns several labels at once, and a pipeline has one; use an estimator for one label"
REFUSED = {
    "CategoricalNB": "reads nothing but codes of categories, and fails on categories that it has not seen; use",
    "IsotonicRegression": "reads one number alone; use an estimator for several features, or keep one numeric feature",
    "OutputCodeClassifier": "gives neither probabilities nor decision values that could be calibrated",
    **dict.fromkeys(("ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain"), SEVERAL),
    **dict.fromkeys(("MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"), SEVERAL),
}
"""Those that no pipeline can use, and why."""

YES_OR_NO = dict.fromkeys(("FixedThresholdClassifier", "TunedThresholdClassifierCV"), "Only binary classification")

EXTRA: list[tuple[Problem, str, dict[str, Any]]] = [
    *(
        (Binary(), "sklearn.neighbors.KNeighborsClassifier", {"algorithm": algorithm, "metric": metric})
        for algorithm in ("ball_tree", "kd_tree", "brute")
        for metric in ("euclidean", "manhattan", "chebyshev", "minkowski")
        if algorithm != "brute" or metric in ("manhattan", "chebyshev")
    ),
    (Regression(), "sklearn.neighbors.KNeighborsRegressor", {"algorithm": "ball_tree", "metric": "canberra"}),
    (Binary(), "sklearn.neural_network.MLPClassifier", {"solver": "sgd", "max_iter": 3}),
    (Regression(), "sklearn.neural_network.MLPRegressor", {"solver": "lbfgs", "max_iter": 3}),
    *((Binary(), "sklearn.svm.SVC", {"kernel": kernel}) for kernel in ("linear", "poly", "rbf", "sigmoid")),
    *(
        (Regression(), "sklearn.gaussian_process.GaussianProcessRegressor", {"kernel": kernel, "alpha": 0.1})
        for kernel in (
            Estimator(f"{KERNELS}.Matern", {"nu": 1.5}),
            Estimator(f"{KERNELS}.Sum", {"k1": RBF, "k2": NOISE}),
            Estimator(f"{KERNELS}.Product", {"k1": RBF, "k2": Estimator(f"{KERNELS}.DotProduct")}),
            Estimator(f"{KERNELS}.RationalQuadratic"),
            Estimator(f"{KERNELS}.Sum", {"k1": SEASON, "k2": NOISE}),
            Estimator(f"{KERNELS}.Exponentiation", {"kernel": RBF, "exponent": 2}),
            Estimator(f"{KERNELS}.PairwiseKernel", {"metric": "laplacian"}),
        )
    ),
    (THREE, "sklearn.gaussian_process.GaussianProcessClassifier", {"kernel": RBF}),
    (Binary(), "sklearn.linear_model.SGDClassifier", {"loss": "modified_huber"}),
    (Regression(), "sklearn.linear_model.TweedieRegressor", {"power": 1.5}),
    (Regression(link="log"), "sklearn.linear_model.PoissonRegressor", {}),
    (Regression(link="log"), "sklearn.linear_model.GammaRegressor", {}),
    (Regression(link="log"), "sklearn.ensemble.HistGradientBoostingRegressor", {"loss": "poisson", "max_iter": 3}),
    (Binary(), "sklearn.model_selection.GridSearchCV", {"estimator": SVM, "param_grid": {"C": [0.1, 1.0]}, "cv": 2}),
    (
        THREE,
        "sklearn.model_selection.RandomizedSearchCV",
        {"estimator": LOGISTIC, "param_distributions": {"C": [0.1, 1.0]}, "n_iter": 1, "scoring": "neg_log_loss"},
    ),
    (
        Regression(),
        "sklearn.model_selection.GridSearchCV",
        {"estimator": RIDGE, "param_grid": {"alpha": [1.0]}, "scoring": "neg_mean_absolute_error", "cv": 2},
    ),
    (Binary(), "sklearn.pipeline.Pipeline", SCALED_SVM.parameters),
    (
        Binary(),
        "sklearn.multiclass.OneVsRestClassifier",
        {
            "estimator": Estimator(
                "sklearn.model_selection.GridSearchCV", {"estimator": SCALED_SVM, "param_grid": {"svm__C": [1.0]}}
            )
        },
    ),
    (THREE, "sklearn.multiclass.OneVsOneClassifier", {"estimator": LOGISTIC}),
    (THREE, "sklearn.multiclass.OneVsRestClassifier", {"estimator": LOGISTIC}),
    (
        Binary(),
        "sklearn.ensemble.StackingClassifier",
        {"estimators": [("svm", SCALED_SVM), ("tree", TREE)], "final_estimator": SVM},
    ),
    (
        Binary(),
        "sklearn.ensemble.VotingClassifier",
        {"voting": "soft", "estimators": [("naive", Estimator("sklearn.naive_bayes.MultinomialNB")), ("tree", TREE)]},
    ),
    (THREE, "sklearn.ensemble.BaggingClassifier", {"estimator": SVM, "n_estimators": 2}),
    (Binary(), "sklearn.ensemble.AdaBoostClassifier", {"estimator": TREE, "n_estimators": 3}),
    (
        Regression(),
        "sklearn.compose.TransformedTargetRegressor",
        {"regressor": RIDGE, "transformer": Estimator("sklearn.preprocessing.StandardScaler")},
    ),
    (Binary(), "sklearn.calibration.CalibratedClassifierCV", {"estimator": SVM, "method": "isotonic", "cv": 2}),
]
"""Estimators with other parameters, and with others inside."""

PREPARING, TEXT = "sklearn.preprocessing", "sklearn.feature_extraction.text"
SVD = Estimator("sklearn.decomposition.TruncatedSVD", {"n_components": 2})
TFIDF, CHARS = (Estimator(f"{TEXT}.TfidfVectorizer", {"analyzer": each}) for each in ("word", "char"))
TRANSFORMERS: list[dict[str, Estimator]] = [
    {
        "age": Estimator(f"{PREPARING}.SplineTransformer", {"n_knots": 4}),
        "city": Estimator(f"{PREPARING}.TargetEncoder"),
        "note": Estimator(f"{TEXT}.HashingVectorizer", {"n_features": 16}),
    },
    {
        "age": Estimator(f"{PREPARING}.KBinsDiscretizer", {"n_bins": 3}),
        "visits": Estimator(f"{PREPARING}.PowerTransformer"),
        "city": Estimator(f"{PREPARING}.OrdinalEncoder", {"handle_unknown": "use_encoded_value", "unknown_value": -1}),
        "note": Estimator(f"{TEXT}.CountVectorizer"),
    },
    {
        "age": Estimator(f"{PREPARING}.QuantileTransformer", {"n_quantiles": 10}),
        "visits": Estimator("sklearn.impute.SimpleImputer", {"add_indicator": True}),
        "note": Estimator("sklearn.pipeline.Pipeline", {"steps": [("words", TFIDF), ("svd", SVD)]}),
    },
    {
        "age": Estimator("sklearn.kernel_approximation.RBFSampler", {"n_components": 4}),
        "visits": Estimator("sklearn.kernel_approximation.Nystroem", {"n_components": 4}),
        "note": Estimator("sklearn.pipeline.FeatureUnion", {"transformer_list": [("words", TFIDF), ("chars", CHARS)]}),
    },
]
"""Transformers by column: each is stored and loaded with the estimator."""

FRESH = """
import json, sys
from pathlib import Path
import pyarrow as pa
from tailrace.engines import models
from tailrace.engines.fingerprint import fingerprint
from tailrace.problems import as_array

root = Path(sys.argv[1])
with pa.ipc.open_file(root / "rows.arrow") as file:
    (batch,) = file.read_all().to_batches()
found = {}
for folder in sorted(root.glob("model-*")):
    model = models.load(folder)
    predicted = as_array(model.predict(batch.select(list(model.features))))
    found[folder.name] = [model.digest(), fingerprint(predicted)]
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Case:
    problem: Problem
    candidate: Candidate
    columns: dict[str, str]

    def spec(self, spec: PipelineSpec) -> PipelineSpec:
        gate = Gate(beat=self.problem.baselines[0])
        features = replace(spec.features, columns=self.columns)
        outcome = replace(spec.outcome, problem=self.problem)
        search = replace(spec.search, metric="")
        return replace(spec, features=features, outcome=outcome, search=search, gate=gate, candidates=(self.candidate,))

    def __str__(self) -> str:
        return f"{self.candidate.estimator.rpartition('.')[2]}, {type(self.problem).__name__}"


def listed(kind: str, *problems: Problem) -> Iterator[Case]:
    """Every estimator of a kind with each of the problems."""
    from sklearn.utils import all_estimators

    for place, (name, found) in enumerate(all_estimators(type_filter=kind)):
        path = f"{found.__module__.partition('._')[0]}.{name}"
        for problem in problems:
            # Every third one reads texts too, which makes its rows wide.
            columns = TEXTS if place % 3 == 0 else COLUMNS
            yield Case(problem, Candidate("it", path, FEW.get(name, {}) | NEEDED.get(name, {})), columns)


CASES = [*listed("classifier", Binary(), THREE), *listed("regressor", Regression())]


def refusal(case: Case) -> str | None:
    """Why it is refused; None if it is not."""
    name = case.candidate.estimator.rpartition(".")[2]
    return (REFUSED if isinstance(case.problem, Binary | Regression) else REFUSED | YES_OR_NO).get(name)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """Numbers, categories (some rare) and texts, with gaps in all of them."""
    random = np.random.default_rng(0)

    def gappy(values: Any) -> pa.Array:
        gone = random.random(ROWS) < 0.1
        return pa.array([None if lost else value for value, lost in zip(values.tolist(), gone, strict=True)])

    words = np.array(["early", "late", "quiet", "loud", "new"])
    return pa.table(
        {
            "age": gappy(random.normal(-3, 10, ROWS)),
            "visits": gappy(random.poisson(4, ROWS)),
            "plan": gappy(random.choice(["free", "plus", "pro"], ROWS)),
            "city": gappy(random.choice([f"city {number}" for number in range(12)], ROWS)),
            "note": gappy(np.array([" ".join(row) for row in random.choice(words, (ROWS, 3))])),
        }
    )


def trained(spec: PipelineSpec, case: Case, table: pa.Table, threads: int) -> SklearnModel:
    given, labels = case.candidate.parameters, case.problem.made_up_labels(ROWS)
    with one_thread():
        return fit(case.spec(spec), case.candidate, given, rows=table, labels=labels, seed=1, threads=threads)


def faults(case: Case, spec: PipelineSpec, table: pa.Table, folder: Path) -> Iterator[str]:
    """What is wrong with it in this process. Stores the model, with its digest and that of what it predicts."""
    if found := problems_of(case.spec(spec)):
        yield f"is refused: {found}"
        return
    one = trained(spec, case, table, 1)
    # Those for three classes are fitted on two cores for two classes, too.
    if case.problem is not THREE and trained(spec, case, table, 2).digest() != one.digest():
        yield "two cores make another model than one"
    predicted = as_array(one.predict(table.select(list(case.columns)).to_batches()[0]))
    if not np.isfinite(predicted).all():
        yield "its predictions are not finite"
    folder.mkdir()
    one.save(folder)
    (folder / "expected.json").write_text(json.dumps([one.digest(), fingerprint(predicted)]))


def sweep(cases: list[Case], spec: PipelineSpec, table: pa.Table, root: Path) -> None:
    """Every case works, here and in a fresh process."""
    with pa.ipc.new_file(root / "rows.arrow", table.schema) as file:
        file.write_table(table)
    wrong, stored = [], {}
    for number, case in enumerate(cases):
        folder = root / f"model-{number:03d}"
        try:
            wrong += [f"{case}: {fault}" for fault in faults(case, spec, table, folder)]
            stored[folder.name] = case
        except Exception as error:  # noqa: BLE001 - all estimators that fail are named together
            wrong.append(f"{case}: {error!r}")
    loaded = fresh(root)
    for name, case in stored.items():
        if loaded.get(name) != json.loads((root / name / "expected.json").read_text()):
            wrong.append(f"{case}: another process loads another model")
    assert not wrong, "\n".join(wrong)


def fresh(root: Path) -> dict[str, list[str]]:
    """The digest of each stored model, and of what it predicts, in another process."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FRESH, str(root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.filterwarnings("ignore")
def test_every_estimator_is_stored_and_loaded_as_it_was_fitted(spec, table, tmp_path):
    """All in one test, because a fresh process takes seconds to start."""
    with_others = [Case(problem, Candidate("it", path, given), COLUMNS) for problem, path, given in EXTRA]
    trees = ("sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 3})
    prepared = [
        Case(problem, Candidate("it", path, given, transformers=each), TEXTS)
        for each in TRANSFORMERS
        for problem, (path, given) in ((THREE, (LOGISTIC.path, {})), (Regression(), trees))
    ]
    sweep([case for case in (*CASES, *with_others, *prepared) if refusal(case) is None], spec, table, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_the_others_are_refused_by_a_true_sentence(spec):
    for case in CASES:
        if why := refusal(case):
            named = case.spec(spec)
            (sentence,) = problems_of(named) or dry_run.problems(named)
            assert why in sentence
            assert case.candidate.estimator.rpartition(".")[2] in sentence or case.candidate.name in sentence
