"""Dates and times of a Parquet column as the text of its canonical form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DATE_LENGTH, _TIME_LENGTH = len("2013-01-31"), len("10:00:00")
_NANOSECONDS = 10**9


def texts_of_times(
    column: pa.Array, seconds: Sequence[int | None] | None, faults: dict[int, str]
) -> list[str | None]:
    """Returns dates, times of day or timestamps as text; a row whose value has no such form is added to `faults`.

    Args:
        column: of a type that `is_time` is true for.
        seconds: of a column that is stored as INT96, its values in whole seconds; None: it is stored otherwise. Arrow converts
            INT96 to nanoseconds in 64 bits, which end in the year 2262, and lets what is beyond wrap around.
        faults: the reason by the index of the row.
    """
    kind = column.type
    if pa.types.is_timestamp(kind):
        if seconds is None:
            # A zone only says how to show the instant, which is stored in UTC. So no time zone database is needed.
            naive = column.cast(pa.int64()).cast(pa.timestamp(kind.unit))
            texts, digits = naive.cast(pa.string()).to_pylist(), _DIGITS[kind.unit]
        else:
            texts, digits = _texts_of_int96(column.cast(pa.int64()).to_pylist(), seconds), _DIGITS["ns"]
        length, zone = _DATE_LENGTH + 1 + _TIME_LENGTH + (digits and 1 + digits), "Z" if kind.tz else ""
        return [
            None if text is None else text.replace(" ", "T") + zone
            for text in _checked(texts, length, "a time outside of the years 1 to 9999", faults)
        ]
    if pa.types.is_date(kind):
        texts = column.cast(pa.date32()).cast(pa.string()).to_pylist()
        return _checked(texts, _DATE_LENGTH, "a date outside of the years 1 to 9999", faults)
    digits = _DIGITS[kind.unit]
    texts = column.cast(pa.string()).to_pylist()
    return _checked(
        texts, _TIME_LENGTH + (digits and 1 + digits), "a time of day outside of 24 hours", faults
    )


def is_time(kind: pa.DataType) -> bool:
    """Whether a type is one of dates, times of day or timestamps."""
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))


def _checked(texts: list[str | None], length: int, fault: str, faults: dict[int, str]) -> list[str | None]:
    # Arrow writes `<value out of range: 86400000>`, `10000-01-01` and `-0001-12-31`.
    for index, text in enumerate(texts):
        if text is not None and (len(text) != length or text[0] in "<-+" or text.startswith("0000-")):
            faults.setdefault(index, f"has {fault}")
    return texts


def _texts_of_int96(nanoseconds: Sequence[int | None], seconds: Sequence[int | None]) -> list[str | None]:
    """Returns timestamps with nine decimal places, from wrapped nanoseconds and whole seconds since 1970."""
    whole = pa.array(seconds, pa.int64()).cast(pa.timestamp("s")).cast(pa.string()).to_pylist()
    texts: list[str | None] = []
    for wrapped, second, text in zip(nanoseconds, seconds, whole, strict=True):
        if wrapped is None or second is None:
            texts.append(None)
            continue
        fraction = (wrapped - second * _NANOSECONDS) % 2**64
        texts.append(f"{text}.{fraction:09}")
    return texts
