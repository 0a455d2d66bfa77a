"""A key set that the user has kept: the keys that a job's signatures must be of, whatever the database says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from vaultstream.audit.checks.queries import job_query
from vaultstream.audit.report import AuditFinding, Tally
from vaultstream.crypto.algorithms import known_algorithm, public_key_jwk
from vaultstream.errors import CustodyError, UsageError
from vaultstream.plurals import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vaultstream.audit.checks.judgement import AuditKey
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job

_PUBLIC = ("kty", "crv", "x", "y", "n", "e", "pub")
"""The members of a JWK that are the public half itself."""


@dataclass(frozen=True)
class PinnedKey:
    """A key of the set."""

    public: Mapping[str, Any]
    """Its public half, as members of a JWK."""
    revoked: bool


@dataclass(frozen=True)
class PinnedKeys:
    """A key set, by the ids of its keys."""

    keys: Mapping[str, PinnedKey]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a JWK set, as `vaultstream keys export` writes it.

        Raises:
            UsageError: the file can't be read, or is no set of keys with ids of their own.
        """
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            raise UsageError(f"The key set {path} can't be read: {error.strerror}.") from None
        except ValueError as error:
            raise UsageError(
                f"The key set {path} can't be used: {error}.",
                hint="`vaultstream keys export JOB` writes one. Keep it where the database's owner can't write.",
            ) from None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads the text of a JWK set.

        Raises:
            ValueError: it is none.
        """
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None
        listed = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(listed, list) or not all(isinstance(jwk, dict) for jwk in listed):
            raise ValueError("it is no JWK set")
        keys: dict[str, PinnedKey] = {}
        for jwk in listed:
            kid = jwk.get("kid")
            if not isinstance(kid, str) or not kid:
                raise ValueError("a key has no id")
            if kid in keys:
                raise ValueError(f"two keys have the id {kid!r}")
            revoked = "revoked" in jwk or jwk.get("state") == "revoked"
            keys[kid] = PinnedKey(_public(jwk), revoked)
        return cls(keys)

    def fault(self, key: AuditKey) -> tuple[AuditFinding, str] | None:
        """Returns why signatures under a key of the job are not those of a pinned key; None if they are."""
        pinned = self.keys.get(key.key_id)
        if pinned is None:
            return AuditFinding.UNKNOWN_KEYS, f"key {key.key_id} is not among the pinned keys"
        if _public_half(key) != pinned.public:
            return AuditFinding.REKEYED, f"key {key.key_id} has another public half than the pinned key"
        if pinned.revoked:
            return AuditFinding.DISTRUSTED_KEYS, f"key {key.key_id} is revoked in the pinned key set"
        return None


async def check_pinned(
    connection: Connection, job: Job, keys: Mapping[int, AuditKey], pinned: PinnedKeys, tally: Tally
) -> None:
    """Finds keys that have signed and are not pinned.

    Args:
        connection: in the transaction with the snapshot.
        job: the job.
        keys: its keys, by their numbers. A signature under another number is invalid anyway.
        pinned: the keys that the user has kept.
        tally: the findings are added to it.
    """
    used = await connection.fetch(job_query("audit_keys_used", job), job.job_no)
    faults = [
        (*fault, row["signatures"])
        for row in used
        if (key := keys.get(row["key_no"])) and (fault := pinned.fault(key))
    ]
    if used and len(faults) == len(used) and all(kind is AuditFinding.UNKNOWN_KEYS for kind, *_ in faults):
        reason = "no key that signed is among the pinned keys: everything was signed again, or the key set is that of another job"
        tally.find(AuditFinding.REKEYED, None, reason, number=len(used))
        return
    for kind, reason, signatures in faults:
        tally.find(kind, None, f"{reason}, and signed {counted(signatures, 'record')}")


def _public(jwk: Mapping[str, Any]) -> dict[str, Any]:
    return {name: jwk[name] for name in _PUBLIC if name in jwk}


def _public_half(key: AuditKey) -> dict[str, Any] | None:
    try:
        algorithm = known_algorithm(key.algorithm)
        return _public(public_key_jwk(key.public_key, key_id=key.key_id, algorithm=algorithm))
    except CustodyError:
        return None
