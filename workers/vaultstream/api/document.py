"""Reads YAML documents as JSON values with their line numbers. Values that JSON can't represent are refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

Path = tuple[str | int, ...]
"""The place of a value: names of fields and positions in lists, from the top."""

MAX_DEPTH = 64
MAX_VALUES = 100_000
"""Maximum number of values in a document, with its aliases expanded. A manifest has a few dozen."""

_TAG = "tag:yaml.org,2002:"
_LEAST, _MOST = -(2**63), 2**63 - 1
_SCALARS = {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null")}


class Problem(NamedTuple):
    """One thing that is wrong with a document.

    Attributes:
        path: the place of the value; () is the whole document.
        line: counted from 1; None if unknown.
        sentence: what is wrong and what is allowed, worded to continue the path.
    """

    path: Path
    line: int | None
    sentence: str


class UnreadableError(Exception):
    """The text can't be read at all.

    Args:
        problem: where and why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


@dataclass
class Document:
    """A document as it was read.

    Attributes:
        value: the JSON value: mappings, lists, strings, numbers, booleans and None.
        lines: the line of each value, counted from 1.
        problems: values that JSON can't represent, and duplicate keys. The first of the duplicates is kept.
        refused: the places where None replaces a value that JSON can't represent.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    refused: set[Path] = field(default_factory=set)

    def line_of(self, path: Path) -> int | None:
        """Returns the line of the value at `path`, or else of the nearest value that contains it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _Loader(yaml.SafeLoader):
    """Reads plain scalars as Kubernetes does: numbers of base 60 (`1:30`), timestamps, merge and value keys stay strings.

    `yes`, `no`, `on` and `off` are booleans there too. Of numbers, `010` and `0o10` are 8, `08` is 8, and any `_` is left out.
    """


_WHOLE = re.compile(r"[-+]?(?:0[bB][01]+|0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|[1-9][0-9]*|0)")
_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class _Numbers:
    """Takes the place of a pattern among PyYAML's resolvers.

    Args:
        whole: whether it matches whole numbers, else all other ones.
    """

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def match(self, text: str) -> bool:
        digits = text.replace("_", "")
        if _WHOLE.fullmatch(digits):
            return self._whole
        if self._whole:
            return False
        return bool(
            _DECIMAL.fullmatch(text if text.startswith(".") else digits) or _NOT_FINITE.fullmatch(text)
        )


_NUMBERS = {f"{_TAG}int": _Numbers(whole=True), f"{_TAG}float": _Numbers(whole=False)}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag in _SCALARS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = str(loader.construct_scalar(node)).replace("_", "")
    return int(digits, 8 if re.match("[-+]?0[0-7]", digits) else 0)


_Loader.add_constructor(f"{_TAG}int", _whole_number)


class _Dumper(yaml.SafeDumper):
    """Quotes a text that this reader or another one of YAML would take for something else, such as `1e3`."""


_Dumper.yaml_implicit_resolvers = {
    first: [*resolvers, *_Loader.yaml_implicit_resolvers.get(first, [])]
    for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
}


def yaml_text(value: Any) -> str:
    """Returns a JSON value as a document that `read_documents` reads as the same value: ASCII, its names in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10_000))


def read_documents(text: str) -> list[Document]:
    """Reads the YAML documents in `text`, of which each has lines counted from the beginning of the text.

    An empty document among others, as after a last `---`, is left out.

    Raises:
        UnreadableError: the text is not YAML, holds no document, or is too deep or too large.
    """
    documents: list[Document] = []
    try:
        loader = _Loader(text)
        reader = _Reader(loader)
        empty: list[Document] = []
        while loader.check_node():
            if (root := loader.get_node()) is not None:
                (empty if _is_empty(root) else documents).append(reader.read_root(root))
        if not documents and not empty:
            raise UnreadableError(Problem((), None, "is empty: a SigningJob is expected"))
        return documents or empty[:1]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(Problem((), mark.line + 1 if mark else None, _syntax_error(error))) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UnreadableError(
            Problem((), line, "contains a control character, which YAML does not allow")
        ) from None
    except RecursionError:
        raise UnreadableError(_too_deep(None)) from None
    except (ValueError, OverflowError):  # raised by PyYAML's scanner, for an escape such as "\UFFFFFFFF"
        raise UnreadableError(
            Problem((), None, "is not YAML: it contains an escape or number out of range")
        ) from None


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null" and not node.value


class _Reader:
    """Turns nodes into values. Counts those of all documents, because an alias is expanded each time it occurs."""

    def __init__(self, loader: _Loader) -> None:
        self.document = Document()
        self._loader = loader
        self._made = 0

    def read_root(self, node: yaml.Node) -> Document:
        self.document = Document()
        self.document.value = self.read(node, ())
        return self.document

    def read(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        self._made += 1
        if self._made > MAX_VALUES:
            raise UnreadableError(
                Problem((), line, f"contains more than {MAX_VALUES} values, too many for a SigningJob")
            )
        if len(path) > MAX_DEPTH:
            raise UnreadableError(_too_deep(line))
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.read(item, (*path, position)) for position, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        return self._refuse(path, line, "has an unsupported YAML tag: remove the tag")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._note(path, line, "has a key that is not a string")
            elif key.tag != f"{_TAG}str":
                self._note(
                    (*path, key.value),
                    line,
                    "is a key that YAML does not read as a string: quote it",
                )
            elif key.value == "<<" and key.style is None:  # in quotes it is an ordinary name
                self._note(
                    (*path, "<<"), line, "is a merge key, which is not supported: write the fields out"
                )
            elif key.value in values:
                first = self.document.lines[(*path, key.value)]
                self._note(
                    (*path, key.value), line, f"is given twice, first on line {first}: remove one of them"
                )
            elif self._scalar(key, (*path, key.value)) is not None:
                self.document.lines[(*path, key.value)] = line
                values[key.value] = self.read(value, (*path, key.value))
        return values

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> str | float | bool | None:
        line = node.start_mark.line + 1
        try:
            value: str | float | bool | None = self._loader.construct_object(node)
        except (ValueError, LookupError, ArithmeticError):  # `!!int x`, or a number of thousands of digits
            self._refuse(path, line, "does not match the type of its YAML tag or form")
            return None
        if isinstance(value, int | float) and not _LEAST <= value <= _MOST:
            self._refuse(path, line, "must be a finite number; whole numbers must fit in 64 bits")
            return None
        if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            self._refuse(
                path, line, "contains a character that can't be stored (NUL or half of a surrogate pair)"
            )
            return None
        return value

    def _refuse(self, path: Path, line: int, sentence: str) -> None:
        self.document.refused.add(path)
        self._note(path, line, sentence)

    def _note(self, path: Path, line: int, sentence: str) -> None:
        self.document.problems.append(Problem(path, line, sentence))


def _too_deep(line: int | None) -> Problem:
    return Problem((), line, f"is nested more than {MAX_DEPTH} levels deep, too deep for a SigningJob")


def _syntax_error(error: yaml.MarkedYAMLError) -> str:
    tab = ": indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""
    return f"is not YAML: {error.problem or error.context}{tab}"
