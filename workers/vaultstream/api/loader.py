"""Reads SigningJobs from YAML. Reports every problem with its line, its field and how to fix it."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from vaultstream.api.document import Document, Problem, UnreadableError, read_document
from vaultstream.api.problems import problems_of, shown_path, shown_value
from vaultstream.api.signingjob import API_VERSION, KIND, SigningJob
from vaultstream.errors import InvalidJobError

MAX_MANIFEST_BYTES = 1024 * 1024
"""Maximum size of a manifest, in bytes."""

MOST_PROBLEMS = 50
"""Maximum number of problems that are listed; the rest are counted."""

_HINT = "examples/full.yaml shows every field with its meaning and default."
_TOO_LARGE = Problem((), None, "is larger than 1 MiB, too large for a SigningJob")


def load_signing_job(path: str | PathLike[str]) -> SigningJob:
    """Reads the SigningJob in the file `path`, or on standard input if it is `-`: UTF-8, at most 1 MiB.

    Raises:
        InvalidJobError: the file can't be read or is not a valid SigningJob; the message lists all problems.
    """
    path = Path(path)
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise _invalid(str(path), [_TOO_LARGE])
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidJobError(
            f"The file {path} does not exist.", hint="Give the path of a SigningJob's YAML."
        ) from None
    except OSError as error:
        raise InvalidJobError(f"The file {path} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidJobError(f"{path}:{line}: is not UTF-8 text.", hint="Save the file as UTF-8.") from None
    return parse_signing_job(text, source=str(path))


def parse_signing_job(text: str, *, source: str) -> SigningJob:
    """Reads the SigningJob in `text`, as YAML or JSON.

    Args:
        text: one document of at most 1 MiB.
        source: the name of the file, for messages.

    Raises:
        InvalidJobError: it is not a valid SigningJob; the message lists one problem per line, as `source:line: field: …`.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_MANIFEST_BYTES:
        raise _invalid(source, [_TOO_LARGE])
    try:
        document = read_document(text)
    except UnreadableError as error:
        raise _invalid(source, [error.problem]) from None
    if foreign := _foreign(document):
        raise _invalid(source, foreign)
    try:
        # Only the camelCase names: snake_case belongs to Python.
        job = SigningJob.model_validate(document.value, by_alias=True, by_name=False)
    except ValidationError as error:
        invalid = [
            problem for problem in problems_of(error, document) if problem.path not in document.refused
        ]
        raise _invalid(source, document.problems + invalid) from None
    if document.problems:
        raise _invalid(source, document.problems)
    return job


def _foreign(document: Document) -> list[Problem]:
    """Returns why the document is not a SigningJob at all; its fields are not checked then."""
    if not isinstance(document.value, dict):
        return [
            Problem(
                (),
                document.line_of(()),
                "is not a SigningJob: a mapping with apiVersion and kind is expected",
            )
        ]
    expected = {"apiVersion": API_VERSION, "kind": KIND}
    return [
        Problem(
            (name,),
            document.line_of((name,)),
            f"must be {value}, not {shown_value(document.value[name], (name,))}",
        )
        for name, value in expected.items()
        if document.value.get(name, value) != value
    ]


def _invalid(source: str, problems: list[Problem]) -> InvalidJobError:
    ordered = sorted(problems, key=lambda problem: problem.line or 0)
    lines = [_line(source, problem) for problem in ordered[:MOST_PROBLEMS]]
    if len(ordered) > MOST_PROBLEMS:
        lines.append(f"… and {len(ordered) - MOST_PROBLEMS} more")
    return InvalidJobError("\n".join(lines), hint=_HINT)


def _line(source: str, problem: Problem) -> str:
    place = source if problem.line is None else f"{source}:{problem.line}"
    if not problem.path:
        return f"{place}: {problem.sentence}"
    # Some problems read as a sentence, "spec.batchsize is not a field"; others as a rule, "spec.keys.count: must be …".
    colon = "" if problem.sentence.startswith(("is ", "has ", "contains ", "does ")) else ":"
    return f"{place}: {shown_path(problem.path)}{colon} {problem.sentence}"
