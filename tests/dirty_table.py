"""A table that nobody has used before: 40 columns of mixed types, dirty, the same for the same seed."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

WORDS = ("late", "refund", "broken", "thanks", "again", "parcel", "never", "arrived", "support", "quick", "box", "blue")
FIRST = dt.date(2026, 1, 1)


def dirty_table(rows: int = 200_000, days: int = 60, seed: int = 17) -> pa.Table:
    """Orders of a shop. `returned` is the label; it depends on price, channel, ratings and words of the note.

    Dirty: nulls, NaN, infinity, far dates, constants, empty columns, copies of columns, numbers as texts, mixed case,
    HTML and control characters in texts, ids, a column with a reserved name, and three leaks.
    """
    random = np.random.default_rng(seed)
    day = np.sort(random.integers(0, days, rows))
    second = random.integers(0, 86_400, rows)
    price = np.round(random.lognormal(3, 1, rows), 2)
    channel = random.choice(["web", "Web", "WEB", "shop", "app", "<script>alert(1)</script>", ""], rows)
    rating = random.choice([1, 2, 3, 4, 5], rows)
    note = np.array([" ".join(random.choice(WORDS, 6)) for _ in range(min(rows, 4_000))])[
        random.integers(0, min(rows, 4_000), rows)
    ]
    odds = (price > 30) * 1.2 + (rating < 3) * 1.0 + np.char.find(note, "broken").clip(-1, 0) + (channel == "app") - 1.0
    returned = random.random(rows) < 1 / (1 + np.exp(-odds))
    ordered = [
        dt.datetime.combine(FIRST, dt.time(), dt.UTC) + dt.timedelta(days=int(d), seconds=int(s))
        for d, s in zip(day, second, strict=True)
    ]
    days_of = [FIRST + dt.timedelta(days=int(d)) for d in day]

    def gaps(values, share, type_=None):
        return pa.array(values, type_, mask=random.random(rows) < share)

    numbers = {f"measure_{number}": random.normal(number, 1 + number, rows) for number in range(8)}
    with_nan = random.normal(size=rows)
    with_nan[random.random(rows) < 0.2] = np.nan
    infinite = random.normal(size=rows)
    infinite[:: max(1, rows // 7)] = np.inf
    columns = {
        "order_id": pa.array([f"o{number:08d}" for number in range(rows)]),
        "order_day": pa.array(days_of, pa.date32()),
        "ordered_at": pa.array(ordered, pa.timestamp("us", "UTC")),
        "returned": gaps(returned, 0.02),
        "price": pa.array(price),
        "channel": gaps(channel.tolist(), 0.05),
        "rating": gaps(rating, 0.1, pa.int16()),
        "note": gaps(note.tolist(), 0.01),
        "select": pa.array(random.integers(0, 9, rows), pa.int32()),
        "Mixed Case": pa.array(random.normal(size=rows)),
        "with nan": pa.array(with_nan),
        "infinite": pa.array(infinite),
        "constant": pa.array(["x"] * rows),
        "always_null": pa.nulls(rows, pa.float64()),
        "price_copy": pa.array(price),
        "price_text": pa.array([f"{value:.2f}" for value in price]),
        "zip_code": pa.array(random.integers(10_000, 10_200, rows), pa.int32()),
        "customer_uuid": pa.array([f"{number * 2654435761 % 2**64:016x}" for number in range(rows)]),
        "row_number": pa.array(np.arange(rows), pa.int64()),
        "big": pa.array(random.integers(2**54, 2**60, rows), pa.int64()),
        "is_gift": gaps(random.random(rows) < 0.1, 0.3),
        "amount_decimal": pa.array([round(float(value), 2) for value in price]).cast(pa.decimal128(12, 2), safe=False),
        "shipped_on": gaps([each + dt.timedelta(days=2) for each in days_of], 0.1, pa.date32()),
        "created_local": pa.array([each.replace(tzinfo=None) for each in ordered], pa.timestamp("us")),
        "payload": pa.array([b"\x00\xff"] * rows, pa.binary()),
        "emoji": pa.array(random.choice(["😀", "Zoë", "naïve", "a\tb", "line\nbreak"], rows).tolist()),
        "was_sent_back": pa.array(np.where(returned, "yes", "no").tolist()),
        "refund_amount": pa.array(np.where(returned, price, np.nan), from_pandas=True),
        "handled_at": pa.array(
            [at + dt.timedelta(days=9) if back else None for at, back in zip(ordered, returned, strict=True)],
            pa.timestamp("us", "UTC"),
        ),
        "nearly": pa.array(returned * 10 + random.normal(size=rows)),
        "mostly_missing": gaps(random.normal(size=rows), 0.999),
        "country": pa.array(random.choice([f"C{number}" for number in range(60)], rows).tolist()),
        **{name: gaps(values, 0.03) for name, values in numbers.items()},
    }
    return pa.table(columns)
