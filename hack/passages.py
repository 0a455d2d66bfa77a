"""The prose of a file: what it says to people, each word at the place that it has in the file.

Everything else, such as code, is blanked out. Lines and columns stay, so a finding in the prose is a finding in the file.
"""

from __future__ import annotations

import io
import re
import token
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath

Span = tuple[int, int]

BLANK = "\0"
"""Replaces each character of code. It is neither a word nor a space, so no phrase reaches across code."""

_FSTRING_MIDDLE = getattr(token, "FSTRING_MIDDLE", None)  # since Python 3.12, an f-string is several tokens
_STRING = re.compile(
    r"(?P<prefix>[A-Za-z]*)(?P<quote>\"\"\"|'''|\"|')(?P<text>.*)(?P=quote)", flags=re.DOTALL
)
_FIELD = re.compile(r"\{[^{}]*\}")
_JOINT = re.compile(r"[\"']*\s*(?:[A-Za-z]{0,2}[\"']+|(?:#|--|//)\s*)?")
"""What may stand between two parts of one text: a string or a comment that continues on the next line."""

_INLINE_CODE = re.compile(rf"(`+)(?!`)[^`\n{BLANK}]*(?:\n[^`\n{BLANK}]*)?\1(?!`)")
_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2[^\n]*$", flags=re.DOTALL | re.MULTILINE)
_GENERATED = re.compile(r"<!-- values: .*?<!-- end of values -->", flags=re.DOTALL)
_LINK_TARGET = re.compile(r"(?<=\])\([^()\s]*\)")
_LIST_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.)\s")
_HASH_COMMENT = re.compile(r"(?:(?<=\s)|^)#(?P<text>.*)$", flags=re.MULTILINE)
_SQL_COMMENT = re.compile(r"--(?P<text>.*)$", flags=re.MULTILINE)
_QUOTED = re.compile(r"\"(?P<text>(?:[^\"\\\n]|\\.)*)\"|'(?P<other>(?:[^'\n]|'')*)'")
_YAML_KEY = re.compile(r"^[ -]*[\w./-]+:(?=\s)", flags=re.MULTILINE)
_YAML_COMMENT_MARK = re.compile(r"^\s*#+", flags=re.MULTILINE)
_ACTION = re.compile(r"\{\{.*?\}\}", flags=re.DOTALL)
_ACTION_COMMENT = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", flags=re.DOTALL)


def prose(path: PurePath, text: str) -> str | None:
    """Returns the text with everything except its prose blanked out; None if files of this kind are not checked.

    Raises:
        SyntaxError: a Python file can't be tokenized.
    """
    kind = _KINDS.get(path.suffix) or _NAMES.get(path.name)
    if kind is None and not path.suffix and text.startswith("#!"):
        kind = _script
    return _without(_INLINE_CODE, kind(text)) if kind else None


def _python(text: str) -> str:
    starts = [0, *(newline.end() for newline in re.finditer("\n", text))]
    spans: list[Span] = []
    for found in tokenize.generate_tokens(io.StringIO(text).readline):
        begin = starts[found.start[0] - 1] + found.start[1]
        spans += [(begin + first, begin + last) for first, last in _spoken(found)]
    return _only(text, spans)


def _spoken(found: tokenize.TokenInfo) -> Iterator[Span]:
    """Yields where the prose of a token begins and ends within it."""
    text = found.string
    if found.type == token.COMMENT:
        yield 1, len(text)
    elif found.type == token.STRING and (string := _STRING.fullmatch(text)) and _is_sentence(string["text"]):
        place = string.start("text")
        if "f" in string["prefix"].lower():
            for field in _FIELD.finditer(text):
                yield place, field.start()
                place = field.end()
        yield place, string.end("text")
    elif found.type == _FSTRING_MIDDLE and _is_sentence(text):
        yield 0, len(text)


def _markdown(text: str) -> str:
    for code in (_FENCED, _GENERATED, _LINK_TARGET):
        text = _without(code, text)
    lines = text.split("\n")
    in_list = in_code = after_blank = False
    for number, line in enumerate(lines):
        if line.strip(f" {BLANK}"):
            indented = line.startswith("    ")
            in_code = indented and (in_code or (after_blank and not in_list))
            in_list = _LIST_ITEM.match(line) is not None or (in_list and line.startswith(" "))
            if in_code:
                lines[number] = BLANK * len(line)
            after_blank = False
        else:
            after_blank = True
    return "\n".join(lines)


def _yaml(text: str) -> str:
    text = _without(_YAML_KEY, _without(_ACTION, text, _action))
    return _without(_YAML_COMMENT_MARK, text, _spaces)


def _action(text: str) -> str:
    """What a template's action says: a comment, or the messages among its words."""
    return text if _ACTION_COMMENT.fullmatch(text) else _only(text, _messages(text))


def _sql(text: str) -> str:
    return _only(text, [*_comments(_SQL_COMMENT, text), *_messages(_without(_SQL_COMMENT, text))])


def _script(text: str) -> str:
    return _only(text, [*_comments(_HASH_COMMENT, text), *_messages(_without(_HASH_COMMENT, text))])


def _json(text: str) -> str:
    return _only(text, _messages(text))


def _comments(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (comment.span("text") for comment in pattern.finditer(text))


def _messages(text: str) -> Iterator[Span]:
    """Yields each quoted text that is more than one word: a single word is a name."""
    for quoted in _QUOTED.finditer(text):
        group = "text" if quoted["text"] is not None else "other"
        if _is_sentence(quoted[group]):
            yield quoted.span(group)


def _is_sentence(text: str) -> bool:
    return " " in text.strip()


def _only(text: str, spans: Iterator[Span] | list[Span]) -> str:
    """Returns the text with everything except the spans blanked out; parts of one text are joined by spaces."""
    parts: list[str] = []
    place = 0
    for begin, end in sorted(spans):
        between = text[place:begin]
        parts.append((_spaces if place and _JOINT.fullmatch(between) else _blanked)(between))
        parts.append(text[begin:end])
        place = end
    parts.append(_blanked(text[place:]))
    return "".join(parts)


def _blanked(text: str) -> str:
    return re.sub(r"[^\n]", BLANK, text)


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _without(pattern: re.Pattern[str], text: str, instead: Callable[[str], str] = _blanked) -> str:
    return pattern.sub(lambda found: instead(found[0]), text)


_KINDS: Mapping[str, Callable[[str], str]] = {
    ".py": _python,
    ".md": _markdown,
    ".yaml": _yaml,
    ".tpl": _yaml,
    ".txt": _yaml,
    ".sql": _sql,
    ".json": _json,
    ".sh": _script,
    ".toml": _script,
    ".sample": _script,
}
_NAMES: Mapping[str, Callable[[str], str]] = {"Makefile": _script, "Dockerfile": _script}
