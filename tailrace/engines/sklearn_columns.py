"""The preprocessing that an estimator of scikit-learn needs, by the kind of each column."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tailrace.spec import Features

RARE = 20
"""Categories with fewer rows share one column."""


def preprocessing(
    features: Features,
    estimator: Any,
    transformers: Mapping[str, Any],
    *,
    rows: Any,
    weights: np.ndarray | None,
) -> Any:
    """A ColumnTransformer for this estimator, not fitted yet; `transformers` prepare their columns instead.

    Categories become columns of zeros and ones, numbers are scaled and their gaps filled with the median, texts become
    columns of words. Estimators that handle categories and gaps themselves receive them as codes and as they are.
    A column of `rows` in which there is nothing to learn from is left out: one of nulls, if the estimator has to bin
    it, and texts that share no word.

    Raises ValueError if no column is left.
    """
    from sklearn.compose import ColumnTransformer

    native = takes_categories(type(estimator))
    plain = _without(features, transformers)
    valueless = _valueless(features, rows, weights) if native else []
    empty = [name for name in plain.columns if name in valueless] + _wordless(plain, rows)
    if len(empty) == len(features.columns):
        raise ValueError(
            f"there is nothing to learn from in {', '.join(map(repr, empty))}: in the learning rows every number is "
            "null, and no word is in two texts; add a feature, or make the window longer"
        )
    plain = _without(plain, empty)
    steps = _native(plain) if native else _encoded(plain, positive=_needs(estimator, "positive_only"))
    gaps = set(features.columns) - set(valueless) if native else set()
    steps += [*_texts(plain), *_given(features, transformers, gaps=gaps)]
    # An ordinary model has no such step, so that its digest stays as it is.
    columns = ColumnTransformer([*steps, *([("empty", "drop", empty)] if empty else [])])
    makes_sparse = not native or transformers or features.of_kind("text")
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


def _without(features: Features, names: Collection[str]) -> Features:
    return replace(features, columns={name: kind for name, kind in features.columns.items() if name not in names})


def _valueless(features: Features, rows: Any, weights: np.ndarray | None) -> list[str]:
    """The numeric features that are null in all rows that count; histogram gradient boosting cannot bin them."""
    counting = slice(None) if weights is None else weights > 0
    return [name for name in features.of_kind("numeric") if np.isnan(rows[name].to_numpy()[counting]).all()]


def _wordless(features: Features, rows: Any) -> list[str]:
    """The text features of which no word is in two rows: TF-IDF has no vocabulary then."""
    return [name for name in features.of_kind("text") if not _shares_a_word(rows[name])]


def _shares_a_word(texts: Iterable[str]) -> bool:
    """Whether two of the texts have a word in common. It stops at the first such word, so it costs little."""
    words_of = _words().build_analyzer()
    seen: set[str] = set()
    for text in texts:
        words = set(words_of(text))
        if not words.isdisjoint(seen):
            return True
        seen |= words
    return False


def _words() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(min_df=2, max_features=50_000)


def _texts(features: Features) -> list[tuple[str, Any, Any]]:
    return [(_step_name(name, place), _words(), name) for place, name in enumerate(features.of_kind("text"))]


def _step_name(column: str, place: int) -> str:
    """A step's name may not contain '__'. Names without it must stay: a model's digest covers them."""
    name = f"text_{column}"
    return f"texts_{place}" if "__" in name else name


def _given(features: Features, transformers: Mapping[str, Any], *, gaps: Collection[str]) -> list[tuple[str, Any, Any]]:
    """Each transformer for its column; steps are numbered, because a step's name may not contain '__'.

    `gaps` are the columns whose missing numbers the estimator handles itself.
    """
    steps: list[tuple[str, Any, Any]] = []
    for place, (name, transformer) in enumerate(transformers.items()):
        if features.columns[name] == "numeric" and not _fills_gaps(transformer, native=name in gaps):
            transformer = _after_imputer(transformer)
        steps.append((f"transformer_{place}", transformer, [name] if _takes_tables(transformer) else name))
    return steps


def _fills_gaps(transformer: Any, *, native: bool) -> bool:
    """Whether missing numbers may reach it: it fills them, or leaves them to an estimator that handles them itself."""
    if type(_first(transformer)).__module__.startswith("sklearn.impute."):
        return True
    tags = tags_of(transformer)
    return native and tags is not None and bool(tags.input_tags.allow_nan)


def _after_imputer(transformer: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), transformer)


def _takes_tables(transformer: Any) -> bool:
    """Whether it reads columns of a table; vectorizers read one sequence of texts."""
    tags = tags_of(_first(transformer))
    return tags is None or bool(tags.input_tags.two_d_array)


def _first(transformer: Any) -> Any:
    """What reads the column in a pipeline or a union of transformers."""
    inside = getattr(transformer, "steps", None) or getattr(transformer, "transformer_list", None)
    return _first(inside[0][1]) if inside else transformer


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
