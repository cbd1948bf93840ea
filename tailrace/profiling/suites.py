"""Written suites from the rows of a sample, in Great Expectations' own format.

What a pipeline cannot do without is critical: keys, times, labels. What the sample merely showed is a warning: a new
category or a larger number is news, and no reason to publish nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from tailrace.profiling.columns import ColumnProfile

MOST_VALUES = 20
"""More categories than these are not listed: a sample does not have all of them."""
SLACK = 0.02
"""How much larger the share of missing values of a day may be than chance explains."""
RARE = 1e-4
"""How seldom a day has fewer values than that by chance."""
EXACT = 2**53
DIGITS = 4
"""A range below 10 is written with so many significant digits of its larger end."""
Written = dict[str, Any]


def suite(name: str, expectations: Iterable[Written]) -> str:
    """A suite as a file of the project has it."""
    content: dict[str, Any] = {"name": name, "meta": {}, "notes": None, "expectations": list(expectations)}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def of_features(
    profiles: Mapping[str, ColumnProfile],
    kinds: Mapping[str, str],
    *,
    needed: Sequence[str],
    key: Sequence[str],
    categories: Mapping[str, Sequence[Any]],
    rows_a_day: float,
) -> list[Written]:
    """What the rows of features must be like; `needed` columns always have a value, `key` names one row.

    `categories` has all values of the columns that have few. A day has about `rows_a_day` rows.
    """
    found: list[Written | None] = [_columns([*needed, *kinds]), *map(_never_missing, needed), _unique(key)]
    for column, kind in kinds.items():
        profile = profiles[column]
        found.append(_seldom_missing(column, profile, rows_a_day))
        if kind == "numeric" and profile.kind == "number" and (limits := _limits(profile)):
            found.append(_warning("expect_column_values_to_be_between", column=column, **limits, mostly=0.99))
        if column in categories:
            values = list(categories[column])
            found.append(_warning("expect_column_values_to_be_in_set", column=column, value_set=values, mostly=0.99))
    return [each for each in found if each]


def of_outcomes(needed: Sequence[str], key: Sequence[str], label: str, *, always: bool) -> list[Written]:
    """What the rows of outcomes must be like; `always`: the label was never missing in the sample."""
    found = [_columns([*needed, label]), *map(_never_missing, needed), _unique(key)]
    if always:
        found.append(_warning("expect_column_values_to_not_be_null", column=label))
    return found


def of_predictions(needed: Sequence[str], key: Sequence[str], bounds: Mapping[str, tuple[float, float]]) -> list[Any]:
    """What predictions must be like; `bounds` has the limits of columns that have any."""
    found = [_columns(needed), *map(_never_missing, needed), _unique(key)]
    for column, (low, high) in bounds.items():
        kwargs = {name: limit for name, limit in (("min_value", low), ("max_value", high)) if math.isfinite(limit)}
        found += [_critical("expect_column_values_to_be_between", column=column, **kwargs)] if kwargs else []
    return found


def _columns(names: Sequence[str]) -> Written:
    kwargs = {"column_set": list(dict.fromkeys(names)), "exact_match": False}
    notes = "Other columns may be added; none of these may be missing."
    return {**_critical("expect_table_columns_to_match_set", **kwargs), "notes": notes}


def _never_missing(column: str) -> Written:
    return _critical("expect_column_values_to_not_be_null", column=column)


def _seldom_missing(column: str, profile: ColumnProfile, rows_a_day: float) -> Written | None:
    """As many values as a day has by chance if values are missing as often as in the sample (binomial distribution)."""
    from scipy.stats import binom

    if not profile.missing:
        return _warning("expect_column_values_to_not_be_null", column=column)
    rows = max(1, round(rows_a_day))
    by_chance = float(binom.ppf(RARE, rows, 1 - profile.missing_share)) / rows
    mostly = math.floor(100 * (by_chance - SLACK)) / 100
    return _warning("expect_column_values_to_not_be_null", column=column, mostly=mostly) if mostly > 0 else None


def _limits(profile: ColumnProfile) -> dict[str, float]:
    """The range of the sample, widened by half of itself to each side; not below 0 if the sample is not."""
    low, high = profile.least, profile.most
    if not (isinstance(low, float) and isinstance(high, float) and max(abs(low), abs(high)) < EXACT / 4):
        return {}
    more = (high - low) / 2
    least = 0.0 if 0 <= low < more else low - more
    return _rounded_outwards(least, high + more)


def _rounded_outwards(least: float, most: float) -> dict[str, float]:
    """The limits as whole numbers, or with a few digits if both are small; the range keeps all that was in it."""
    size = max(abs(least), abs(most))
    if size >= 10 or not size:
        return {"min_value": math.floor(least), "max_value": math.ceil(most)}
    unit = Decimal(1).scaleb(Decimal(size).adjusted() - DIGITS + 1)
    low, high = Decimal(least).quantize(unit, ROUND_FLOOR), Decimal(most).quantize(unit, ROUND_CEILING)
    # `or 0`: a limit just below 0 becomes -0.
    return {"min_value": float(low) or 0, "max_value": float(high) or 0}


def _unique(key: Sequence[str]) -> Written:
    if len(key) == 1:
        return _critical("expect_column_values_to_be_unique", column=key[0])
    return _critical("expect_compound_columns_to_be_unique", column_list=list(key))


def _critical(type_: str, **kwargs: Any) -> Written:
    return {"type": type_, "kwargs": kwargs, "severity": "critical"}


def _warning(type_: str, **kwargs: Any) -> Written:
    return {"type": type_, "kwargs": kwargs, "severity": "warning"}
