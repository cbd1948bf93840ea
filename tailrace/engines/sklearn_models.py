"""Pipelines of scikit-learn, preprocessing included, stored by skops without pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tailrace.engines.encoding import check_numbers, to_numpy
from tailrace.engines.fingerprint import fingerprint
from tailrace.engines.signatures import check_columns, describe, identity, no_predictions, problem_of
from tailrace.engines.trusted_types import TRUSTED
from tailrace.errors import SignatureMismatch
from tailrace.problems import Problem, as_batch
from tailrace.rows import role_values


class SklearnModel:
    """A scikit-learn Pipeline over a data frame of the feature columns."""

    kind = "sklearn"

    def __init__(self, pipeline: Any, features: Mapping[str, str], problem: Problem) -> None:
        self.pipeline, self.problem = pipeline, problem
        self.features = dict(features)

    def predict(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        check_columns(self.features, rows.schema)
        if rows.num_rows == 0:
            # scikit-learn refuses to transform zero rows.
            return no_predictions(self.problem)
        return as_batch(self.problem, self.problem.of_estimator(self.pipeline, frame(rows, self.features)))

    def save(self, folder: Path) -> None:
        import skops.io

        dumped = skops.io.dumps(self.pipeline)
        _refuse_unknown(skops.io.get_untrusted_types(data=dumped), "The fitted pipeline")
        (folder / "model.skops").write_bytes(dumped)
        describe(folder, self, features=self.features)

    def digest(self) -> str:
        # A skops file contains memory addresses and times, so its bytes differ from run to run.
        return fingerprint([self.pipeline, list(self.features.items()), *identity(self.problem)])

    def former_digest(self) -> str:
        """The digest that releases up to 0.1 recorded: of a pickle, so it changes once the model was stored."""
        import joblib

        fitted = joblib.hash([self.pipeline, list(self.features.items())], hash_name="sha1")
        return hashlib.sha256(fitted.encode()).hexdigest()

    def importance(self) -> Mapping[str, float]:
        """Share of each feature in the absolute coefficients or impurity decreases, if it has any."""
        weights = _weights(self.pipeline[-1])
        if weights is None:
            return {}
        shares = dict.fromkeys(self.features, 0.0)
        for name, weight in zip(_origins(self.pipeline[0]), weights, strict=True):
            shares[name] += float(weight)
        total = sum(shares.values()) or 1.0
        return {name: share / total for name, share in shares.items()}


def load(folder: Path, description: Mapping[str, Any]) -> SklearnModel:
    """The model that `save` stored with this description. Raises SignatureMismatch for types that are not trusted."""
    return SklearnModel(_load_skops(folder / "model.skops"), description["features"], problem_of(description))


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
            filled = role_values.as_text(values).fill_null("")
            columns[name] = np.asarray(filled.to_pylist(), dtype=object)
    return pd.DataFrame(columns)


def _weights(estimator: Any) -> np.ndarray | None:
    """The impurity decreases or absolute coefficients of a fitted estimator, or of those that it calibrated or chose.

    One number for each of its inputs; None if it has none.
    """
    if hasattr(estimator, "calibrated_classifiers_"):
        parts = [_weights(each.estimator) for each in estimator.calibrated_classifiers_]
        return None if any(part is None for part in parts) else np.sum(parts, axis=0)  # type: ignore[arg-type]
    if hasattr(estimator, "best_estimator_"):
        return _weights(estimator.best_estimator_)
    weights = getattr(estimator, "feature_importances_", None)
    if weights is None and hasattr(estimator, "coef_"):
        # a row for each class, if there are several
        weights = np.atleast_2d(np.abs(_dense(estimator.coef_))).sum(axis=0)
    return weights


def _dense(values: Any) -> np.ndarray:
    """A dense array, also if scikit-learn returns a sparse matrix."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values)


def _origins(columns: Any) -> list[str]:
    """The feature that each output column of a fitted ColumnTransformer was made from.

    By its structure: an output's name, such as 'categorical__carrier_UA', does not show where a feature's name ends.
    """
    import copy

    origins: list[str] = []
    for name, step, inputs in columns.transformers_:
        outputs = columns.output_indices_[name]
        width = outputs.stop - outputs.start
        if isinstance(inputs, str) or len(inputs) == 1:
            origins += [inputs if isinstance(inputs, str) else inputs[0]] * width
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
            f"{what} contains types that Tailrace does not trust: {', '.join(refused)}. Use another estimator. "
            "If they only hold data, ask for them in an issue of Tailrace's: its trusted_types.py lists each type."
        )
