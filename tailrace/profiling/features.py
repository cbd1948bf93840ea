"""Which columns of a table can be features, of which kind, and why the others cannot."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tailrace.profiling.columns import ColumnProfile, contents_of, in_short, numbers, plain
from tailrace.rows import role_values

MOST_CATEGORIES = 500
ROWS_OF_A_CATEGORY = 5
"""A category needs so many rows on average: names that nearly all differ teach nothing."""
UNIQUE = 0.9
"""From this share of different values on, a text or a whole number names its row."""
WORDS = 3
"""From so many words on average, a text with many values is free text."""
NEARLY_ALL = 0.995
CODE = re.compile(r"(^|_)(id|ids|uuid|guid|key|code|zip|postcode|sku|ean|isbn)$", re.IGNORECASE)
"""Names of columns whose whole numbers name something: they count nothing."""
PROPORTIONAL = 1 - 1e-9
"""Correlations above are those of a number with itself, in another unit."""
NUMBER = r"^\s*[-+]?(\d+([.,]\d+)*|[.,]\d+)([eE][-+]?\d+)?\s*$"


class Chosen(NamedTuple):
    """The features with their kinds, and for each other column why it is none."""

    kinds: Mapping[str, str]
    left_out: Mapping[str, str]


def chosen(
    rows: pa.Table, profiles: Sequence[ColumnProfile], *, taken: Mapping[str, str], label: str | None = None
) -> Chosen:
    """The features that a table offers; `taken` maps columns with another role in the spec to that role."""
    kinds: dict[str, str] = {}
    left_out: dict[str, str] = {}
    lower = {name.lower(): role for name, role in taken.items()}
    twins = _twins(rows, profiles, label)
    for each in profiles:
        if (role := lower.get(each.name.lower())) is not None:
            left_out[each.name] = role
        elif (why := twins.get(each.name) or _unusable(rows[each.name], each)) is not None:
            left_out[each.name] = why
        elif (name := _same(rows, each, kinds, profiles)) is not None:
            left_out[each.name] = f"it always has the value of {name!r}"
        else:
            kinds[each.name] = _kind(rows[each.name], each)
    return Chosen(kinds, left_out)


def _kind(column: pa.ChunkedArray, profile: ColumnProfile) -> str:
    """numeric, categorical or text, for a column that can be used."""
    if profile.kind == "text":
        return "text" if _is_prose(column, profile) else "categorical"
    return "categorical" if _is_code(profile) else "numeric"


def _unusable(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    """Why a column cannot be a feature; None if it can."""
    return next((why for check in _CHECKS if (why := check(plain(column), profile))), None)


def _name(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if not profile.name or not profile.name.isprintable():
        return "its name has control characters, or is empty"
    return "its name begins with '__', as Tailrace's own columns do" if profile.name.startswith("__") else None


def _type(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if pa.types.is_null(column.type):
        return "it is missing in every row"
    if profile.kind in ("day", "moment"):
        return f"it is a {profile.kind}; compute a number in the mart, such as the days since then"
    return f"models do not read the type {column.type}" if profile.kind == "other" else None


def _missing(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if not profile.known:
        return "it is missing in every row"
    return f"it is missing in {profile.missing_share:.1%} of the rows" if profile.missing_share > NEARLY_ALL else None


def _constant(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if profile.distinct == 1 and not profile.missing:
        return f"it is always {profile.frequent[0][0]!r}"
    if profile.distinct == 1 and profile.kind == "text" and profile.missing_share < 1 - NEARLY_ALL:
        return f"it is {profile.frequent[0][0]!r} wherever it is not missing"
    return None


def _too_large(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if profile.kind != "number" or _is_code(profile):
        return None
    wrong = role_values.beyond(column)
    if wrong is None or not (rows := pc.sum(wrong).as_py()):
        return None
    example = in_short(column.filter(wrong)[0].as_py())
    if rows == 1:
        return f"it is {example} in 1 row, which no model accepts; make it null in the mart"
    return f"it has numbers such as {example} in {rows:,} rows, which no model accepts; make them null in the mart"


def _identifier(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if profile.kind not in ("text", "number") or profile.known < 20:
        return None
    whole = profile.kind == "text" or pa.types.is_integer(column.type)
    nearly_unique = profile.distinct >= UNIQUE * profile.known
    if profile.kind == "text" and _is_prose(column, profile):
        return None
    if profile.kind == "text" and nearly_unique and not _are_numbers(column):
        return f"it names its row: {profile.distinct:,} different values in {profile.known:,} rows"
    if whole and _is_code(profile) and profile.distinct > _most_categories(profile):
        return f"it names something by {profile.distinct:,} codes, too many for categories"
    counts_up = whole and nearly_unique and profile.kind == "number" and _counts_up(profile)
    return (
        f"it numbers the rows: {profile.distinct:,} different values in {profile.known:,} rows" if counts_up else None
    )


def _counts_up(profile: ColumnProfile) -> bool:
    """Whether whole numbers that nearly all differ lie so close together that they look like a counter."""
    low, high = profile.least, profile.most
    return isinstance(low, float) and isinstance(high, float) and high - low < 100 * profile.distinct


def _unsorted_text(column: pa.ChunkedArray, profile: ColumnProfile) -> str | None:
    if profile.kind != "text" or _is_prose(column, profile) or profile.distinct <= _most_categories(profile):
        return None
    if _are_numbers(column):
        return "its texts are numbers; cast it in the mart, and make null what is none"
    return (
        f"it has {profile.distinct:,} different short texts in {profile.known:,} rows, too many for categories; "
        "group them in the mart"
    )


_CHECKS = (_name, _type, _missing, _constant, _too_large, _identifier, _unsorted_text)


def _most_categories(profile: ColumnProfile) -> int:
    return max(2, min(MOST_CATEGORIES, profile.known // ROWS_OF_A_CATEGORY))


def _is_code(profile: ColumnProfile) -> bool:
    """Whether whole numbers name something."""
    whole = profile.type.startswith(("int", "uint")) or re.fullmatch(r"decimal128\(\d+, 0\)", profile.type)
    return profile.kind == "number" and bool(whole) and bool(CODE.search(profile.name))


def _is_prose(column: pa.ChunkedArray, profile: ColumnProfile) -> bool:
    """Whether texts consist of words and are no categories."""
    if profile.distinct <= min(MOST_CATEGORIES, max(2, profile.known // 20)):
        return False
    words = pc.list_value_length(pc.utf8_split_whitespace(pc.utf8_slice_codeunits(column, 0, 1_000)))
    return float(pc.mean(words).as_py() or 0) >= WORDS


def _are_numbers(column: pa.ChunkedArray) -> bool:
    matched = pc.match_substring_regex(column.drop_null(), NUMBER)
    return float(pc.mean(matched.cast(pa.int8())).as_py() or 0) > UNIQUE


def _twins(rows: pa.Table, profiles: Sequence[ColumnProfile], label: str | None) -> dict[str, str]:
    """The columns whose values say the label, one value for one label, or that differ by a factor only."""
    if label is None:
        return {}
    labelled = rows.filter(pc.is_valid(plain(rows[label])))
    target = plain(labelled[label])
    found = {}
    for each in profiles:
        if each.name != label and each.known and each.kind in ("flag", "number", "text"):
            column = plain(labelled[each.name])
            if _is_twin(column, target):
                found[each.name] = f"it says the same as the label {label!r}"
    return found


def _is_twin(column: pa.ChunkedArray, label: pa.ChunkedArray) -> bool:
    """Whether each value goes with one label and each label with one value, in all rows that have both.

    Of numbers that nearly all differ, whether the one is the other times a factor.
    """
    if column.null_count > 0.5 * len(column):
        return False
    both = pa.table({"value": column, "label": label}).drop_null()
    if both.num_rows > 2 and contents_of(label.type) == contents_of(column.type) == "number" and _proportional(both):
        return True
    pairs = both.group_by(["value", "label"]).aggregate([]).num_rows
    values, labels = (both[name].combine_chunks().unique() for name in ("value", "label"))
    # in few rows, different values may go with different labels by chance
    return pairs == len(values) == len(labels) >= 2 and both.num_rows >= 2 * pairs


def _proportional(both: pa.Table) -> bool:
    from scipy.stats import pearsonr

    values, labels = (numbers(both[name]).to_numpy() for name in ("value", "label"))
    usable = np.isfinite(values) & np.isfinite(labels)
    values, labels = values[usable], labels[usable]
    if len(values) < 3 or np.ptp(values) == 0 or np.ptp(labels) == 0:
        return False
    return bool(abs(pearsonr(values, labels).statistic) > PROPORTIONAL)


def _same(
    rows: pa.Table, each: ColumnProfile, others: Collection[str], profiles: Sequence[ColumnProfile]
) -> str | None:
    """The feature that has the same values as this column, if there is one."""
    by_name = {profile.name: profile for profile in profiles}
    for name in others:
        other = by_name[name]
        alike = (other.type, other.missing, other.distinct, other.least, other.most, other.frequent)
        same = alike == (each.type, each.missing, each.distinct, each.least, each.most, each.frequent)
        if same and plain(rows[name]).equals(plain(rows[each.name])):
            return name
    return None
