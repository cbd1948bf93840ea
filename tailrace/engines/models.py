"""Fitted pipelines: preprocessing and estimator in one artefact, stored without pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.contracts import Model
from tailrace.engines import versions
from tailrace.engines.encoding import check_numbers, matrix, to_numpy
from tailrace.engines.fingerprint import fingerprint
from tailrace.errors import SignatureMismatch, did_you_mean
from tailrace.rows import roles

DESCRIPTION = "model.json"
TRUSTED = frozenset(
    {
        "functools.partial",
        "numpy.dtype",
        "scipy.sparse._csr.csr_array",
        "scipy.sparse._csr.csr_matrix",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._dist_metrics.ChebyshevDistance64",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.metrics._dist_metrics.MinkowskiDistance64",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.model_selection._split.KFold",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.model_selection._split.TimeSeriesSplit",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    }
)
"""What scikit-learn's estimators hold beyond skops' own list. One by one, since a function of any
package may read files: `numpy.load` would unpickle one."""


class XgboostModel:
    """Boosted trees on native categories; `categories` holds each categorical column's codes."""

    kind = "xgboost"

    def __init__(self, booster: Any, features: Mapping[str, str], categories: Mapping[str, Sequence[str]]) -> None:
        self.booster = booster
        self.features = dict(features)
        self.categories = {name: list(values) for name, values in categories.items()}

    def predict(self, rows: pa.RecordBatch) -> pa.Array:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            return pa.array([], pa.float64())
        encoded = matrix(rows, list(self.features), self.categories)
        scores = self.booster.inplace_predict(encoded, validate_features=False)
        return pa.array(scores.astype(np.float64))

    def save(self, folder: Path) -> None:
        self.booster.save_model(folder / "model.ubj")
        _describe(folder, kind=self.kind, features=self.features, categories=self.categories)

    def digest(self) -> str:
        description = json.dumps([self.features, self.categories], sort_keys=True).encode()
        return hashlib.sha256(bytes(self.booster.save_raw("ubj")) + description).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the total gain of all splits."""
        gains = self.booster.get_score(importance_type="total_gain")
        total = sum(gains.values()) or 1.0
        return {name: gains.get(name, 0.0) / total for name in self.features}


class SklearnModel:
    """A scikit-learn Pipeline over a data frame of the feature columns."""

    kind = "sklearn"

    def __init__(self, pipeline: Any, features: Mapping[str, str]) -> None:
        self.pipeline = pipeline
        self.features = dict(features)

    def predict(self, rows: pa.RecordBatch) -> pa.Array:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            # scikit-learn refuses to transform no rows.
            return pa.array([], pa.float64())
        positive = list(self.pipeline.classes_).index(True)
        return pa.array(self.pipeline.predict_proba(frame(rows, self.features))[:, positive].astype(np.float64))

    def save(self, folder: Path) -> None:
        import skops.io

        dumped = skops.io.dumps(self.pipeline)
        _refuse_unknown(skops.io.get_untrusted_types(data=dumped), "The fitted pipeline")
        (folder / "model.skops").write_bytes(dumped)
        _describe(folder, kind=self.kind, features=self.features)

    def digest(self) -> str:
        # A skops file holds memory addresses and times, so its bytes differ from run to run.
        return fingerprint([self.pipeline, list(self.features.items())])

    def former_digest(self) -> str:
        """The digest that releases up to 0.1 recorded: of a pickle, so that it differs once the model was stored."""
        import joblib

        fitted = joblib.hash([self.pipeline, list(self.features.items())], hash_name="sha1")
        return hashlib.sha256(fitted.encode()).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the absolute coefficients or impurity decreases, if it has any."""
        estimator = self.pipeline[-1]
        weights = getattr(estimator, "feature_importances_", None)
        if weights is None and hasattr(estimator, "coef_"):
            weights = np.abs(_dense(estimator.coef_)).ravel()
        if weights is None:
            return {}
        shares = dict.fromkeys(self.features, 0.0)
        for name, weight in zip(_origins(self.pipeline[0]), weights, strict=True):
            shares[name] += float(weight)
        total = sum(shares.values()) or 1.0
        return {name: share / total for name, share in shares.items()}


def load(folder: Path) -> Model:
    """A model as `save` wrote it.

    Raises SignatureMismatch if it is of no kind known here, or does not work with the libraries installed here.
    """
    description = json.loads((folder / DESCRIPTION).read_text())
    return versions.load(folder, description, lambda: _read(folder, description))


def _read(folder: Path, description: Mapping[str, Any]) -> Model:
    from tailrace.engines import distributed_models

    if description["kind"] == XgboostModel.kind:
        import xgboost

        # Batches are scored side by side, each on one thread: threads that share a batch wait for each other.
        booster = xgboost.Booster({"nthread": 1}, model_file=folder / "model.ubj")
        return XgboostModel(booster, description["features"], description["categories"])
    if description["kind"] == SklearnModel.kind:
        return SklearnModel(_load_skops(folder / "model.skops"), description["features"])
    if description["kind"] in distributed_models.KINDS:
        return distributed_models.load(folder, description)
    known = ", ".join((XgboostModel.kind, SklearnModel.kind, *distributed_models.KINDS))
    raise SignatureMismatch(
        f"The model in {folder} is of kind {description['kind']!r}; this version of Tailrace loads {known}. "
        "Score with the version that trained it, or train again."
    )


def digest_to_compare(model: Model, recorded: str) -> str:
    """The model's digest; made as releases up to 0.1 made it, where that is the recorded one."""
    if isinstance(model, SklearnModel) and model.former_digest() == recorded:
        return recorded
    return model.digest()


def frame(rows: pa.Table | pa.RecordBatch, features: Mapping[str, str]) -> Any:
    """The feature columns as pandas: numbers as float64, categories and texts as plain objects.

    Raises SignatureMismatch as `check_numbers` does.
    """
    import pandas as pd

    check_numbers(rows, [name for name, kind in features.items() if kind == "numeric"])
    columns = {}
    for name, kind in features.items():
        values = rows.column(name)
        if kind == "numeric":
            columns[name] = to_numpy(values.cast(pa.float64()))
        else:
            filled = roles.as_text(values).fill_null("")
            columns[name] = np.asarray(filled.to_pylist(), dtype=object)
    return pd.DataFrame(columns)


def check_columns(features: Mapping[str, str], schema: pa.Schema) -> None:
    """Raises SignatureMismatch listing every feature that the rows lack or hold as another type."""
    problems = []
    for name, kind in features.items():
        if name not in schema.names:
            problems.append(f"column {name!r} is missing.{did_you_mean(name, schema.names)}")
        elif not roles.fits(schema.field(name).type, kind):
            problems.append(f"column {name!r} is {schema.field(name).type}, the model takes it as {kind}.")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise SignatureMismatch(
            f"The features do not fit the model's signature:\n{lines}\n"
            "Train again on the features as they are, or score with a version trained on them (--model N)."
        )


def _dense(values: Any) -> np.ndarray:
    """An array, also where scikit-learn gives a sparse matrix."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _origins(columns: Any) -> list[str]:
    """The feature that each output of a fitted ColumnTransformer was made of.

    By its structure: the names of outputs, such as 'categorical__carrier_UA', do not say where a feature's name ends.
    """
    import copy

    origins: list[str] = []
    for name, step, inputs in columns.transformers_:
        outputs = columns.output_indices_[name]
        width = outputs.stop - outputs.start
        if isinstance(inputs, str):
            origins += [inputs] * width
        elif hasattr(step, "feature_name_combiner") and width:
            named = copy.copy(step)
            named.feature_name_combiner = lambda feature, category: feature
            origins += list(named.get_feature_names_out())
        else:
            origins += list(inputs)[:width]
    return origins


def _load_skops(path: Path) -> Any:
    import skops.io

    unknown = skops.io.get_untrusted_types(file=path)
    _refuse_unknown(unknown, f"The model file {path.name}")
    return skops.io.load(path, trusted=unknown)


def _refuse_unknown(types: Sequence[str], what: str) -> None:
    refused = sorted(set(types) - TRUSTED)
    if refused:
        raise SignatureMismatch(
            f"{what} holds types that Tailrace does not trust: {', '.join(refused)}. Use another estimator, or, if "
            "they can do no harm, add them to TRUSTED in tailrace/engines/models.py and train again."
        )


def _describe(folder: Path, kind: str, **description: Any) -> None:
    told = {"kind": kind, versions.RECORDED: versions.installed(kind), **description}
    (folder / DESCRIPTION).write_text(json.dumps(told, indent=2, sort_keys=False))
