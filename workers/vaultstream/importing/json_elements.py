"""The elements of one JSON array, in any layout, read piece by piece."""

from __future__ import annotations

import codecs
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from vaultstream.errors import ImportFileError, shortened
from vaultstream.importing.encoding import fault_of_bytes
from vaultstream.importing.lines import MAX_LINE_BYTES
from vaultstream.importing.rows import RejectedError
from vaultstream.importing.source import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.importing.source import ImportSource

_PIECE_BYTES = 1 << 18
_SPACE = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"|["{}\[\]]')
_SCALAR_END = re.compile(r"[,\]\s]")
_PLAIN_MESSAGES = {"Extra data": "something follows the value"}
_UNDECODABLE = re.compile("[\udc80-\udcff]")


class JsonRecord(NamedTuple):
    """A record of a JSON file."""

    line: int
    """The line that it begins on, from 1."""
    text: str
    members: dict[str, Any]
    fault: str | None
    """Why it is rejected, as the end of the sentence "The line …"; None: it is valid."""


def begins_array(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a JSON array."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of its members.

    Raises:
        RejectedError: two of them have the same name.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RejectedError(f"has the member {shortened(name, 200)!r} more than once")
            seen.add(name)
    return members


def _no_number(name: str) -> float:
    raise RejectedError(f"is malformed: {name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=_no_number)


def fault_of_json(error: Exception) -> str:
    """Returns why a value that `parse_object` failed on is rejected."""
    match error:
        case RejectedError():
            return str(error)
        case json.JSONDecodeError():
            found = error.doc[error.pos : error.pos + 1]
            shown = f", which is U+{ord(found):04X}" if found and not found.isprintable() else ""
            message = _PLAIN_MESSAGES.get(error.msg, error.msg.removesuffix(" at"))
            return f"is malformed: {message} at column {error.colno}{shown}"
        case RecursionError():
            return "is nested too deeply"
        case _:  # ValueError: Python's own limit on the digits of an integer
            return "contains a number with thousands of digits"


def is_cut_off(text: str, error: Exception) -> bool:
    """Whether a line on which `parse_object` failed is the beginning of an object, with which the file ends."""
    return (
        isinstance(error, json.JSONDecodeError)
        and text.startswith("{")
        and not text.endswith("\n")
        and (error.pos >= len(error.doc) or error.msg.startswith("Unterminated"))
    )


PARSE_ERRORS = (RejectedError, RecursionError, ValueError)


def parse_object(text: str) -> dict[str, Any]:
    """Parses a text that is one JSON object.

    Raises:
        RejectedError: it is another value, or has a member twice.
        ValueError, RecursionError: it is malformed, or beyond what can be parsed.
    """
    value = _decoder.decode(text.rstrip())
    if not isinstance(value, dict):
        raise RejectedError("is not a JSON object")
    return value


class ArrayElements:
    """Iterates over the elements of a file that is one JSON array; once. Memory use depends on the longest element alone.

    Raises:
        ImportFileError: the array is not closed, is followed by something, or its elements can't be told apart.
    """

    def __init__(self, source: ImportSource) -> None:
        self._source = source
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape").decode
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def __iter__(self) -> Iterator[JsonRecord]:
        self._skip("[")
        if self._next_character() == "]":
            raise ImportFileError(f"{self._source.subject} is an empty array.")
        while True:
            yield self._element()
            if self._next_character() == "]":
                break
            self._skip(",")
        self._skip("]")
        if self._next_character(may_end=True):
            raise self._broken("something follows its end")

    def _element(self) -> JsonRecord:
        """Returns the next element, and moves behind it."""
        self._next_character()
        while True:
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except PARSE_ERRORS:
                value, end = None, self._end_of_value()
            if end < len(self._text):
                break
            if not self._read_on():
                raise self._broken("the file ends inside it")
        if end == self._at:
            raise self._broken("a record is missing")
        text = self._text[self._at : end]
        line = self._line
        self._move(end)
        if _UNDECODABLE.search(text):
            return JsonRecord(
                line, text, {}, fault_of_bytes(text.encode("utf-8", "surrogateescape"), placed=False)
            )
        if isinstance(value, dict):
            return JsonRecord(line, text, value, None)
        try:
            return JsonRecord(line, text, parse_object(text), None)
        except PARSE_ERRORS as error:
            return JsonRecord(line, text, {}, fault_of_json(error))

    def _end_of_value(self) -> int:
        """Returns where the value here ends, judged by its brackets and strings alone, or the end of what was read so far."""
        if self._text[self._at] not in "{[":
            found = _SCALAR_END.search(self._text, self._at)
            return found.start() if found else len(self._text)
        depth = 0
        for token in _TOKEN.finditer(self._text, self._at):
            match token[0]:
                case "{" | "[":
                    depth += 1
                case "}" | "]":
                    depth -= 1
                    if depth == 0:
                        return token.end()
                case '"':  # the beginning of a string that does not end on its line
                    if "\n" in self._text[token.start() :]:
                        raise self._broken("a string does not end in the record that begins")
                    break
        return len(self._text)

    def _read_on(self) -> bool:
        """Reads another piece; returns whether there was one."""
        if self._ended:
            return False
        if len(self._text) - self._at > MAX_LINE_BYTES:
            raise self._broken("a record is longer than 64 MiB")
        # Twice as much each time: a long element is parsed again after each piece.
        size = max(_PIECE_BYTES, len(self._text) - self._at)
        try:
            piece = self._source.stream.read(size)
        except DAMAGED as error:
            raise ImportFileError(
                f"{self._source.subject} is damaged after line {self._line}: {str(error).rstrip('.')}.",
                hint="Download or create the file again.",
            ) from None
        self._ended = not piece
        self._text = self._text[self._at :] + self._decode(piece, final=self._ended)
        self._at = 0
        return bool(piece)

    def _next_character(self, *, may_end: bool = False) -> str:
        """Moves to the next character that is not white space, and returns it; empty: the file has ended."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._move(found.end() if found else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                if may_end:
                    return ""
                raise self._broken("the file ends inside it")

    def _skip(self, expected: str) -> None:
        if self._next_character() != expected:
            raise self._broken(f"{expected!r} is missing")
        self._move(self._at + 1)

    def _move(self, at: int) -> None:
        self._line += self._text.count("\n", self._at, at)
        self._at = at

    def _broken(self, how: str) -> ImportFileError:
        return ImportFileError(
            f"{self._source.subject} is a JSON array, but {how} on line {self._line}.",
            hint="Create the file again. Several arrays in one file have to be imported one by one, with --append.",
        )
