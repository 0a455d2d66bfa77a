"""Checks the words of the project: its documents, comments, docstrings and messages. `hack/prose.py [PATH...]`.

The words are in words.toml, beside the checks of proselint that are used. Prints a line for each finding, and exits 1 if
there is one.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from proselint import checks as proselint_checks
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, types

from passages import prose

ROOT = Path(__file__).parents[1]
WORDS = Path(__file__).with_name("words.toml")


@dataclass(frozen=True)
class Finding:
    """A phrase at a line, and what to write instead."""

    path: Path
    line: int
    phrase: str
    advice: str

    def __str__(self) -> str:
        """Returns it as a compiler would print it."""
        return f"{self.path}:{self.line}: “{self.phrase}”: {self.advice}"


@dataclass(frozen=True)
class Words:
    """What words.toml says: phrases with the forms to prefer, proselint's checks, and what is left out."""

    forms: dict[str, str]
    checks: list[str]
    skip: frozenset[str]


@cache
def words() -> Words:
    """Reads words.toml."""
    given = tomllib.loads(WORDS.read_text(encoding="utf-8"))
    forms = {phrase: advice for group in given["forms"].values() for phrase, advice in group.items()}
    return Words(forms, given["proselint"]["checks"], frozenset(given["skip"]["paths"]))


@cache
def enabled() -> list[Check]:
    """Returns the project's own check and those of proselint that it uses."""
    forms = {f"(?:{phrase})".replace(" ", r"\s+"): advice for phrase, advice in words().forms.items()}
    own = Check(check_type=types.PreferredForms(forms), path="vaultstream", message="write {}")
    registry = CheckRegistry()
    registry.register_many((own, *proselint_checks.__register__))
    return registry.get_all_enabled(dict.fromkeys(["vaultstream", *words().checks], True))


def findings(path: Path, text: str) -> list[Finding]:
    """Returns what is found in a file's text, by line."""
    passages = prose(path, text)
    if passages is None:
        return []
    found: list[Finding] = []
    for check in enabled():
        for result in check.check_with_flags(f"\n{passages}\n"):
            begin, end = (place - 1 for place in result.span)
            phrase = passages[max(begin, 0) : end]
            begin += len(phrase) - len(phrase.lstrip())
            found.append(
                Finding(
                    path,
                    passages.count("\n", 0, begin) + 1,
                    " ".join(phrase.split()),
                    " ".join(result.message.split()),
                )
            )
    return sorted(found, key=lambda finding: finding.line)


def files(start: Path, skip: frozenset[str]) -> Iterator[Path]:
    """Yields a file, or the files under a folder except what `skip` names, hidden folders and build products."""
    if start.is_file():
        yield start
    for folder, names, own in os.walk(start):
        here = Path(folder)
        names[:] = sorted(
            name
            for name in names
            if (not name.startswith(".") or name == ".ci")
            and name not in {"build", "dist", "htmlcov", "__pycache__"}
            and (here / name).relative_to(ROOT).as_posix() not in skip
        )
        yield from (
            here / name for name in sorted(own) if (here / name).relative_to(ROOT).as_posix() not in skip
        )


def main(paths: list[str]) -> int:
    """Prints what is found; returns the exit status."""
    chosen = [Path(path).resolve() for path in paths] or [ROOT]
    count = 0
    for path in (file for start in chosen for file in files(start, words().skip)):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # no text
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        for finding in findings(shown, text):
            print(finding)  # noqa: T201 - its output
            count += 1
    if count:
        print(f"error: {count} {'phrase' if count == 1 else 'phrases'} to rewrite", file=sys.stderr)  # noqa: T201 - its output
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
