"""A finding: what was checked, the result, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from vaultstream.errors import DOCTOR
from vaultstream.transit import ENCRYPT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.errors import VaultStreamError


class Level(StrEnum):
    """How bad a finding is: jobs can continue despite a warning; a failure stops them or puts them at risk."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        check: what was checked, in a few words.
        level: how bad it is.
        message: what was found, in a sentence.
        hint: what to do; None if there is nothing to do.
    """

    check: str
    level: Level
    message: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ok(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, hint: str | None = None) -> Finding:
    return Finding(check, Level.WARNING, message, hint)


def failed(check: str, message: str, hint: str | None = None) -> Finding:
    return Finding(check, Level.FAILED, message, hint)


def failed_by(check: str, error: VaultStreamError) -> Finding:
    """Returns an error as a finding, without the hint's advice to run doctor."""
    return failed(check, error.message, error.hint and error.hint.replace(f"; {DOCTOR}", "."))


def judge_transit(service: str, plain_peer: str | None) -> list[Finding]:
    """Warns of a connection that leaves this host without TLS, to the address `plain_peer`."""
    if plain_peer is None:
        return []
    return [warning(f"{service} encryption", PLAIN.format(peer=plain_peer), ENCRYPT[service])]


def any_failed(findings: Iterable[Finding]) -> bool:
    return any(finding.level is Level.FAILED for finding in findings)
