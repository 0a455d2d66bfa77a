"""Decides whether a signature is valid, purely from its row, its key and the record's current payload."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from vaultstream.api import Algorithm
from vaultstream.crypto import algorithms
from vaultstream.crypto.low_s import low_s
from vaultstream.errors import CustodyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from vaultstream.crypto.algorithms import PublicKey, Verifier
    from vaultstream.proof.jws import JwsForm


class Absence(StrEnum):
    """Why a record has no payload to compare with, as a clause."""

    DELETED = "its row is no longer in the source"
    NULL = "its payload is now NULL"
    TOO_LONG = "its payload is now longer than the job allows"
    UNSTEADY = "the source answered otherwise when its payload was read a second time"
    UNREADABLE = "the source can't be read"


class Outcome(StrEnum):
    VALID = "valid"
    INVALID = "invalid"
    CHANGED = "changed"


@dataclass(frozen=True)
class SignatureVerdict:
    """Whether a signature is valid, and why."""

    outcome: Outcome
    reason: str = ""


class StoredSignature(NamedTuple):
    """A row of a job's signatures table. A tuple, because a frozen dataclass takes three times as long to make."""

    key_no: int
    epoch: int
    signed_at: datetime
    digest: bytes
    signature: bytes


class AuditKey:
    """A public key, ready to verify with."""

    def __init__(
        self, *, key_id: str, algorithm: str, public_key: bytes, state: str, wanted: Algorithm | None = None
    ) -> None:
        """Takes a row of the keys; `wanted` is the job's algorithm, if the key must be for that one."""
        self.key_id = key_id
        self.algorithm = algorithm
        self.wanted = wanted
        self.public_key = public_key
        self.state = state
        self._verify_payload: Verifier | None = None
        self._verify_digest: Verifier | None = None
        self._key: PublicKey | None = None

    @property
    def needs_payload(self) -> bool:
        """Whether the payload itself is needed to check a signature, not just its digest."""
        return self.algorithm in (Algorithm.ED25519, Algorithm.ML_DSA_65)

    def verify(self, signature: bytes, *, digest: bytes, payload: bytes | None) -> bool:
        """Whether the signature is over this digest or, for algorithms that need it, over this payload.

        Raises:
            CustodyError: the public key can't be read, is weak, or is for another algorithm.
        """
        self._load()
        if self._verify_digest is not None:
            return self._verify_digest(signature, digest)
        return (
            payload is not None
            and self._verify_payload is not None
            and self._verify_payload(signature, payload)
        )

    def usable(self) -> PublicKey | None:
        """Returns the key; None if it can't be used, which `verify` explains."""
        try:
            return self._load()
        except CustodyError:
            return None

    def _load(self) -> PublicKey:
        if self._key is not None:
            return self._key
        if self.wanted is not None and self.algorithm != self.wanted:
            raise CustodyError(f"It is for {self.algorithm}, and the job signs with {self.wanted}.")
        algorithm = algorithms.known_algorithm(self.algorithm)
        key = algorithms.public_key_from_bytes(self.public_key)
        self._verify_digest = algorithms.digest_verifier(key, algorithm)
        self._verify_payload = algorithms.verifier(key, algorithm)
        self._key = key
        return key


class JwsKey:
    """A public key, to verify the JWS of one record with."""

    needs_payload = True
    """It is a part of what is signed."""

    def __init__(self, key: AuditKey, form: JwsForm, record_id: str) -> None:
        self.key_id = key.key_id
        self.algorithm = key.algorithm
        self._key = key
        self._form = form
        self._record_id = record_id

    def verify(self, signature: bytes, *, digest: bytes, payload: bytes | None) -> bool:  # noqa: ARG002 - as `AuditKey`
        """Whether the signature is over the JWS of this payload; see `AuditKey.verify`."""
        signed = b"" if payload is None else self._form.signing_input(self.key_id, self._record_id, payload)
        return self._key.verify(signature, digest=sha256(signed).digest(), payload=signed)


def judge(
    stored: StoredSignature, key: AuditKey | JwsKey | None, present: bytes | Absence
) -> SignatureVerdict:
    """Decides whether a signature is valid, invalid, or over a payload that has changed since.

    Args:
        stored: the signature's row.
        key: the job's key that the row names; None if the job has no such key.
        present: the record's current payload, or why it has none.
    """
    if key is None:
        return _invalid(f"it names key number {stored.key_no}, which does not belong to the job")
    try:
        return _judge(stored, key, present)
    except CustodyError as error:
        return _invalid(f"the public key of {key.key_id} can't be used: {error.message}")


def _judge(stored: StoredSignature, key: AuditKey | JwsKey, present: bytes | Absence) -> SignatureVerdict:
    verdict = (
        _judge_alone(stored, key, present)
        if isinstance(present, Absence)
        else _judge_over(stored, key, present)
    )
    if verdict.outcome is Outcome.INVALID and _is_high_s_twin(stored, key, present):
        return _invalid(
            f"it is the high-s form of a valid signature under key {key.key_id}, which anyone can make without the key; "
            "VaultStream writes and accepts only the low-s form"
        )
    return verdict


def _is_high_s_twin(stored: StoredSignature, key: AuditKey | JwsKey, present: bytes | Absence) -> bool:
    """Whether the other form of an ECDSA signature is valid over the stored digest."""
    if key.algorithm != Algorithm.ECDSA_P256_SHA256:
        return False
    try:
        twin = low_s(stored.signature)
    except (IndexError, ValueError, OverflowError):  # no DER
        return False
    return twin != stored.signature and key.verify(
        twin, digest=stored.digest, payload=present if isinstance(present, bytes) else None
    )


def _judge_alone(stored: StoredSignature, key: AuditKey | JwsKey, absence: Absence) -> SignatureVerdict:
    if key.needs_payload:
        what = "a JWS" if isinstance(key, JwsKey) else key.algorithm
        return _changed(f"{absence}, and {what} can't be checked without it")
    if key.verify(stored.signature, digest=stored.digest, payload=None):
        return _changed(f"{absence}; the signature matches the digest that was stored with it")
    return _invalid(f"the signature does not verify over the stored digest, and {absence}")


def _judge_over(stored: StoredSignature, key: AuditKey | JwsKey, payload: bytes) -> SignatureVerdict:
    digest = sha256(payload).digest()
    verifies = key.verify(stored.signature, digest=digest, payload=payload)
    if digest == stored.digest:
        if verifies:
            return SignatureVerdict(Outcome.VALID)
        return _invalid(f"the signature does not verify under key {key.key_id}")
    if verifies:
        return _invalid("the signature matches the payload, but the stored digest does not")
    if key.needs_payload or key.verify(stored.signature, digest=stored.digest, payload=None):
        return _changed("its payload is no longer the one that was signed")
    return _invalid(
        f"the signature does not verify under key {key.key_id}, neither over the stored digest nor over the current payload"
    )


def _invalid(reason: str) -> SignatureVerdict:
    return SignatureVerdict(Outcome.INVALID, reason)


def _changed(reason: str) -> SignatureVerdict:
    return SignatureVerdict(Outcome.CHANGED, reason)


@dataclass(frozen=True, slots=True)
class CommittedLease:
    """A lease of the history that ended with a commit."""

    began: datetime | None
    committed_at: datetime | None
    """Before `began`, if the clock was set back; None: at no time."""
    stated: bool
    """Whether a statement says when its signatures were made. Without one, that is the time of the commit."""

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """Reads a row of `audit_committed_leases`."""
        return cls(row["began"], row["committed_at"], bool(row["stated"]))

    def covers(self, time: datetime) -> bool:
        """Whether a signature of this time can have been made under it."""
        if self.committed_at is None or time >= self.committed_at or not self.stated:
            return time == self.committed_at
        return self.began is None or self.began <= time or self.began > self.committed_at


def lease_fault(stored: StoredSignature, commits: Sequence[CommittedLease]) -> str | None:
    """Returns why a signature was not made under a lease; None if it was.

    Args:
        stored: the signature's row.
        commits: the committed leases of its key with its epoch. There should be one.
    """
    if not commits:
        return f"key number {stored.key_no} has no committed lease with epoch {stored.epoch}"
    if any(lease.covers(stored.signed_at) for lease in commits):
        return None
    return (
        f"its time is {stored.signed_at.isoformat()}, but its lease with epoch {stored.epoch} was committed at "
        + ", ".join(
            "no time" if each.committed_at is None else each.committed_at.isoformat() for each in commits
        )
    )


def stored_signature(row: asyncpg.Record) -> StoredSignature:
    """Reads a row of `audit_signatures`, by place: names take twice as long."""
    _, key_no, epoch, signed_at, digest, signature = row
    return StoredSignature(key_no, epoch, aware(signed_at), digest, signature)


def aware(time: datetime) -> datetime:
    """Returns a time with its zone: of Postgres's infinities, the driver makes the last and the first one without any."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)
