"""The canonical payload: how the columns of a record become the bytes that are signed.

A record that is made up of several columns is signed as one JSON object in the canonical form of RFC 8785 (JCS): the
columns are its members, sorted by name (as UTF-16 code units), without white space, in UTF-8. Anyone who has the same
values can compose the same bytes with any JCS library.

- CSV: every value is a JSON string with the text exactly as it is in the file, without its quotes. Nothing
  is guessed: `517` is `"517"`, `NA` is `"NA"`, and an empty field, quoted or not, is `""`.
- JSON lines: a value keeps its JSON type. Numbers are written as RFC 8785 says (`1.0` becomes `1`, `1e3` becomes
  `1000`), members of inner objects are sorted too. An integer beyond ±(2^53 - 1), which JSON numbers can't carry
  everywhere, half of a surrogate pair, a duplicate member, a number out of range and more than 100 levels of arrays and objects
  are refused.
- A table that a job signs (`records.payloadColumns`): as in Parquet, see `vaultstream.records.composed`.
- Parquet: null is `null`, booleans, integers and floats are JSON's (bounds as above; NaN and infinities are refused;
  a 32-bit float is written as the 64-bit number it is), text is a string. Decimals are strings with all their
  digits (`"12.50"`), dates `"2013-01-31"`, times of day `"10:00:00.000"`, timestamps `"2013-01-31T10:00:00.000"`, with
  as many digits after the point as the column's unit has (none, 3, 6 or 9); those with a time zone are written
  in UTC with a `Z` at the end. Binary is a string in base64, a UUID its usual text. Lists and structs become arrays and
  objects if they contain only nulls, booleans, numbers and text.
"""

from __future__ import annotations

from json import JSONEncoder, encoder
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import rfc8785

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON number keeps exactly."""

MAX_LEVELS = 100
"""How deep arrays and objects may be nested, with the outermost one. What Python can nest depends on who calls whom: the signer
could sign what `verify` then finds no form for."""

encode_string: Callable[[str], str] = encoder.encode_basestring
"""Writes a text as a JSON string, exactly as RFC 8785 requires."""

_NESTING = frozenset({dict, list})

_encode = JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


class CanonicalError(ValueError):
    """A value that has no canonical form; the text ends the sentence "The line …"."""


def canonical_json(value: Any) -> bytes:
    """Returns a JSON value (of dict, list, str, int, float, bool, None) in the form of RFC 8785.

    Raises:
        CanonicalError: the value has no canonical form.
    """
    if _is_deep(value):
        raise CanonicalError(f"is nested too deeply: {MAX_LEVELS} levels of arrays and objects are allowed")
    try:
        return _encode(value).encode() if _is_plain(value) else bytes(rfc8785.dumps(value))
    except UnicodeEncodeError:
        raise CanonicalError("contains half of a surrogate pair, which is not text") from None
    except rfc8785.IntegerDomainError:
        raise CanonicalError(
            "contains an integer beyond 2^53, which JSON numbers can't represent exactly: write it as a string"
        ) from None
    except rfc8785.FloatDomainError:
        raise CanonicalError("contains a number that JSON can't express") from None
    except rfc8785.CanonicalizationError as error:
        raise CanonicalError(f"has no canonical form: {error}") from None


def _is_deep(value: Any) -> bool:
    """Whether a value has more than `MAX_LEVELS` levels of arrays and objects."""
    level = [value] if type(value) in _NESTING else []
    for _ in range(MAX_LEVELS):
        if not level:
            return False
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) in _NESTING
        ]
    return bool(level)


def _is_plain(value: Any) -> bool:
    """Whether the standard library's encoder, which is far faster, writes this value exactly as RFC 8785 requires.

    The two differ in numbers that one of them writes with an exponent or a `.0`, and in the order of non-ASCII names.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER)
    if kind is float:
        return 1e-4 <= abs(value) < 1e15 and not value.is_integer()  # noqa: PLR2004 - where repr has no exponent
    if kind is dict:
        return "".join(value).isascii() and all(
            type(item) is str or _is_plain(item) for item in value.values()
        )
    return kind is list and all(map(_is_plain, value))


def object_composer(names: Sequence[str]) -> Callable[[Sequence[str]], bytes]:
    """Returns a function that composes a canonical object from values that are already JSON, in the order of `names`."""
    order = sorted(range(len(names)), key=lambda index: names[index].encode("utf-16-be", "surrogatepass"))
    members = (encode_string(names[index]).replace("%", "%%") + ":%s" for index in order)
    template = "{" + ",".join(members) + "}"
    pick = itemgetter(*order)  # with a single index it returns the value itself, which `%` accepts too

    def compose(values: Sequence[str]) -> bytes:
        text: str = template % pick(values)
        return text.encode()

    return compose


def text_composer(names: Sequence[str], places: Sequence[int]) -> Callable[[Sequence[str]], bytes]:
    """Returns a function that composes a canonical object of strings from a row.

    Args:
        names: names of the members.
        places: index of each member's text in the row.
    """
    compose = object_composer(names)

    def compose_texts(row: Sequence[str]) -> bytes:
        return compose([encode_string(row[place]) for place in places])

    return compose_texts
