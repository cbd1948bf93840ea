"""The preprocessing that an estimator of scikit-learn needs, by the kind of each column."""

from __future__ import annotations

from typing import Any

import numpy as np

from tailrace.spec import Features

RARE = 20
"""Categories with fewer rows share one column."""


def preprocessing(features: Features, estimator: Any) -> Any:
    """A ColumnTransformer for this estimator, not fitted yet.

    Categories become columns of zeros and ones, numbers are scaled and their gaps filled with the median, texts become
    columns of words. Estimators that handle categories and gaps themselves receive them as codes and as they are.
    """
    from sklearn.compose import ColumnTransformer

    native = takes_categories(type(estimator))
    steps = _native(features) if native else _encoded(features, positive=_needs(estimator, "positive_only"))
    columns = ColumnTransformer([*steps, *_texts(features)])
    makes_sparse = not native or features.of_kind("text")
    if makes_sparse and not _takes_sparse(estimator):
        # Otherwise the estimator would receive sparse rows as soon as there are many categories.
        columns.set_params(sparse_threshold=0.0)
    return columns


def takes_categories(kind: Any) -> bool:
    """Whether a class of estimators handles categories and gaps itself, as histogram gradient boosting does."""
    import inspect

    return "categorical_features" in inspect.signature(kind).parameters


def _native(features: Features) -> list[tuple[str, Any, Any]]:
    from sklearn.preprocessing import OrdinalEncoder

    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=254)
    return [
        ("categorical", codes, list(features.of_kind("categorical"))),
        ("numeric", "passthrough", list(features.of_kind("numeric"))),
    ]


def _encoded(features: Features, *, positive: bool) -> list[tuple[str, Any, Any]]:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    # Clipped, because a number below all that were learned from would be negative.
    scaler = MinMaxScaler(clip=True) if positive else StandardScaler()
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=RARE)
    return [
        ("categorical", one_hot, list(features.of_kind("categorical"))),
        ("numeric", make_pipeline(imputer, scaler), list(features.of_kind("numeric"))),
    ]


def _texts(features: Features) -> list[tuple[str, Any, Any]]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return [(f"text_{name}", TfidfVectorizer(min_df=2, max_features=50_000), name) for name in features.of_kind("text")]


def _needs(estimator: Any, tag: str) -> bool:
    """Whether scikit-learn's tags say this of the inputs of the estimator, or of one inside it."""
    inside = [each for each in estimator.get_params(deep=True).values() if hasattr(each, "__sklearn_tags__")]
    return any(getattr(tags.input_tags, tag) for each in (estimator, *inside) if (tags := tags_of(each)) is not None)


def _takes_sparse(estimator: Any) -> bool:
    tags = tags_of(estimator)
    return tags is None or bool(tags.input_tags.sparse)


def tags_of(estimator: Any) -> Any:
    """scikit-learn's tags; None for one without the inner estimator that it needs: fitting it reports that."""
    from sklearn.utils import get_tags

    if isinstance(estimator, type):
        return None
    try:
        return get_tags(estimator)
    except AttributeError:
        return None
