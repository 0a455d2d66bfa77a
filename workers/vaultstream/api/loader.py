"""Reads SigningJobs from YAML. Reports every problem with its line, its field and how to fix it."""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from vaultstream.api.document import Document, Problem, UnreadableError, read_documents
from vaultstream.api.problems import problems_of, shown_path, shown_value
from vaultstream.api.signingjob import API_VERSION, KIND, SigningJob
from vaultstream.errors import InvalidJobError

MAX_MANIFEST_BYTES = 1024 * 1024
"""Maximum size of a manifest, in bytes."""

MOST_PROBLEMS = 50
"""Maximum number of problems that are listed; the rest are counted."""

_STANDARD_INPUT = "-"
_HINT = "examples/full.yaml shows every field with its meaning and default."
_TOO_LARGE = Problem((), None, "is larger than 1 MiB, too large for a SigningJob")


def load_signing_job(path: str | PathLike[str]) -> SigningJob:
    """Reads the SigningJob in the file `path`, or on standard input if it is `-`: UTF-8, at most 1 MiB.

    Raises:
        InvalidJobError: the file can't be read or is not one valid SigningJob; the message lists all problems.
    """
    return parse_signing_job(_text_of(Path(path)), source=_name_of(path))


def load_signing_jobs(path: str | PathLike[str]) -> list[SigningJob]:
    """Reads the SigningJobs in the file `path`, or on standard input if it is `-`, one per YAML document, in their order.

    Raises:
        InvalidJobError: the file can't be read, or a document is not a valid SigningJob; the message lists all problems.
    """
    return parse_signing_jobs(_text_of(Path(path)), source=_name_of(path))


def _name_of(path: str | PathLike[str]) -> str:
    return "standard input" if str(path) == _STANDARD_INPUT else str(path)


def _text_of(path: Path) -> str:
    name = _name_of(path)
    try:
        if str(path) == _STANDARD_INPUT:
            data = sys.stdin.buffer.read(MAX_MANIFEST_BYTES + 1)
        else:
            with path.open("rb") as file:
                data = file.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise _invalid(name, [_TOO_LARGE])
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise InvalidJobError(
            f"The file {path} does not exist.", hint="Give the path of a SigningJob's YAML."
        ) from None
    except OSError as error:
        what = name.capitalize() if str(path) == _STANDARD_INPUT else f"The file {path}"
        raise InvalidJobError(f"{what} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidJobError(f"{name}:{line}: is not UTF-8 text.", hint="Save the file as UTF-8.") from None


def parse_signing_job(text: str, *, source: str) -> SigningJob:
    """Reads the SigningJob in `text`, as YAML or JSON.

    Args:
        text: one document of at most 1 MiB.
        source: the name of the file, for messages.

    Raises:
        InvalidJobError: it is not a valid SigningJob; the message lists one problem per line, as `source:line: field: …`.
    """
    documents = _documents(text, source)
    if len(documents) > 1:
        line = documents[1].line_of(())
        sentence = "contains more than one document: put each job in its own file"
        raise _invalid(source, [Problem((), line, sentence)])
    return _jobs(documents, source)[0]


def parse_signing_jobs(text: str, *, source: str) -> list[SigningJob]:
    """Reads the SigningJobs in `text`, one per document, as YAML or JSON; no two have the same name.

    Args:
        text: the documents, of at most 1 MiB.
        source: the name of the file, for messages.

    Raises:
        InvalidJobError: a document is not a valid SigningJob; the message lists one problem per line, as `source:line: field: …`.
    """
    return _jobs(_documents(text, source), source)


def _documents(text: str, source: str) -> list[Document]:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_MANIFEST_BYTES:
        raise _invalid(source, [_TOO_LARGE])
    try:
        return read_documents(text)
    except UnreadableError as error:
        raise _invalid(source, [error.problem]) from None


def _jobs(documents: list[Document], source: str) -> list[SigningJob]:
    jobs: list[SigningJob] = []
    problems: list[Problem] = []
    for document in documents:
        job, found = _checked(document)
        problems += found
        if job is not None and any(job.metadata.name == other.metadata.name for other in jobs):
            path = ("metadata", "name")
            line = document.line_of(path)
            problems.append(
                Problem(path, line, "is that of a document before it: give each job its own name")
            )
        elif job is not None:
            jobs.append(job)
    if problems:
        raise _invalid(source, problems)
    return jobs


def _checked(document: Document) -> tuple[SigningJob | None, list[Problem]]:
    """Returns the job in a document, or what is wrong with it."""
    if foreign := _foreign(document):
        return None, foreign
    try:
        # Only the camelCase names: snake_case belongs to Python.
        job = SigningJob.model_validate(document.value, by_alias=True, by_name=False)
    except ValidationError as error:
        invalid = [
            problem for problem in problems_of(error, document) if problem.path not in document.refused
        ]
        return None, document.problems + invalid
    return job, document.problems


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
    field = next((shown_path(problem.path) for problem in ordered if problem.path), None)
    return InvalidJobError("\n".join(lines), hint=_HINT, field=field)


def _line(source: str, problem: Problem) -> str:
    place = source if problem.line is None else f"{source}:{problem.line}"
    if not problem.path:
        return f"{place}: {problem.sentence}"
    # Some problems read as a sentence, "spec.batchsize is not a field"; others as a rule, "spec.keys.count: must be …".
    colon = "" if problem.sentence.startswith(("is ", "has ", "contains ", "does ")) else ":"
    return f"{place}: {shown_path(problem.path)}{colon} {problem.sentence}"
