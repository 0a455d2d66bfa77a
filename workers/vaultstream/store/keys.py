"""Keys in Postgres: public keys, wrapped private keys, and states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import known_algorithm
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.crypto.jwks import published_jwk
from vaultstream.errors import DatabaseError
from vaultstream.store.database import fetch_one
from vaultstream.store.lockers import changing, naming_lockers
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from vaultstream.crypto.revocations import Revocations
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


@dataclass(frozen=True)
class NewKey:
    """A new key: the public key as SubjectPublicKeyInfo, the private key wrapped."""

    ordinal: int
    public_key: bytes
    wrapped: WrappedKey


@dataclass(frozen=True)
class KeyInfo:
    """A key as people see it, without key material."""

    key_no: int
    ordinal: int
    key_id: str
    algorithm: Algorithm
    public_key: bytes
    state: str
    created_at: datetime
    ended_at: datetime | None
    epoch: int
    holder: str | None
    lease_until: datetime | None
    batches: int
    last_used_at: datetime | None

    @property
    def jwk(self) -> dict[str, Any]:
        """The key as a member of a set of keys."""
        return published_jwk(
            self.public_key,
            key_id=self.key_id,
            algorithm=self.algorithm,
            state=self.state,
            ended_at=self.ended_at,
        )


@dataclass(frozen=True)
class KeyCounts:
    """How many keys of a job are in each state, and how many are leased.

    Attributes:
        made: keys that the keys worker created, in any state; keys that were added later are not counted.
    """

    active: int
    retired: int
    revoked: int
    leased: int
    made: int

    @property
    def total(self) -> int:
        return self.active + self.retired + self.revoked

    def to_json(self) -> dict[str, int]:
        """Returns the counts as the command reports them."""
        return {
            "total": self.total,
            "active": self.active,
            "retired": self.retired,
            "revoked": self.revoked,
            "leased": self.leased,
        }


@dataclass(frozen=True)
class KeyUse:
    """How evenly a job's keys were used, in committed batches per key."""

    used: int
    keys: int
    least: int
    most: int


async def add_keys(connection: Connection, job: Job, keys: Sequence[NewKey]) -> None:
    """Stores new keys. An ordinal that already exists, because another keys worker was faster, stays as it is.

    Raises:
        LockedError: another transaction holds the job's row; the message names it.
    """
    async with changing(connection, ["jobs", "keys"]):
        for key in keys:
            key_no = await connection.fetchval(
                query("add_key"),
                job.job_no,
                key.ordinal,
                key.wrapped.key_id,
                key.wrapped.algorithm.value,
                key.public_key,
            )
            if key_no is not None:
                await connection.execute(
                    query("add_key_material"),
                    key_no,
                    key.wrapped.version,
                    key.wrapped.kek_id,
                    key.wrapped.wrapped,
                )


async def ordinals(connection: Connection, job_no: int) -> set[int]:
    """Returns the ordinals of a job's keys."""
    rows = await connection.fetch(query("list_ordinals"), job_no)
    return {row["ordinal"] for row in rows}


async def list_keys(connection: Connection, job_no: int) -> list[KeyInfo]:
    """Returns a job's keys by ordinal, each with the number of batches that it committed."""
    rows = await connection.fetch(query("list_keys"), job_no)
    return [KeyInfo(**{**dict(row), "algorithm": Algorithm(row["algorithm"])}) for row in rows]


async def count_keys(connection: Connection, job_no: int) -> KeyCounts:
    """Returns the counts of a job's keys."""
    return KeyCounts(**dict(await fetch_one(connection, query("count_keys", job_no="$1"), job_no)))


async def has_free_key(connection: Connection, job_no: int) -> bool:
    """Returns whether a job has a key that can be leased now or once its row is no longer locked."""
    return bool(await connection.fetchval(query("has_free_key"), job_no))


async def get_key_use(connection: Connection, job_no: int) -> KeyUse:
    """Returns how evenly a job's keys were used so far."""
    return KeyUse(**dict(await fetch_one(connection, query("key_use"), job_no)))


async def may_read_wrapped(connection: Connection) -> bool:
    """Returns whether this user may read wrapped keys: an auditor may not, and needs none."""
    return bool(await connection.fetchval(query("may_read_wrapped")))


async def list_wrapped(connection: Connection, job: Job) -> list[WrappedKey]:
    """Returns the wrapped form of all keys of a job."""
    rows = await connection.fetch(query("list_wrapped"), job.job_no, None)
    return [_wrapped(job, row) for row in rows]


async def get_wrapped(connection: Connection, job: Job, key_id: str) -> WrappedKey | None:
    """Returns the wrapped form of one key of a job."""
    row = await connection.fetchrow(query("list_wrapped"), job.job_no, key_id)
    return _wrapped(job, row) if row else None


class Halves(NamedTuple):
    """Of a key: the public half, as SubjectPublicKeyInfo, and the wrapped private one if it was asked for and is there."""

    public_key: bytes
    wrapped: WrappedKey | None


async def get_halves(
    connection: Connection, job: Job, key_ids: Sequence[str], *, wrapped: Sequence[str]
) -> dict[str, Halves]:
    """Returns both halves of keys, by key id, in one round trip. Keys that the job does not have are left out.

    Args:
        connection: to Postgres.
        job: whose keys they are.
        key_ids: the keys.
        wrapped: those of them whose private half is wanted.
    """
    found = await connection.fetch(query("get_halves"), job.job_no, key_ids, wrapped)
    return {
        row["key_id"]: Halves(row["public_key"], None if row["wrapped"] is None else _wrapped(job, row))
        for row in found
    }


async def list_public_keys(connection: Connection, job_no: int) -> dict[str, bytes]:
    """Returns the public halves of a job's keys by key id."""
    return {
        row["key_id"]: row["public_key"] for row in await connection.fetch(query("list_public_keys"), job_no)
    }


async def list_revived(
    connection: Connection, job_no: int, revocations: Revocations, *, by_public_key: bool = True
) -> list[str]:
    """Returns the keys of a job that the file of revocations names, and that Postgres does not have as revoked.

    Args:
        connection: to the database.
        job_no: the job.
        revocations: from the file.
        by_public_key: whether to compare public keys too, which costs a hash of each.
    """
    if not revocations.entries:
        return []
    key_ids = [entry.key_id for entry in revocations.entries]
    digests = [entry.public_key_sha256 for entry in revocations.entries] if by_public_key else []
    rows = await connection.fetch(query("list_revived"), job_no, key_ids, digests)
    return [row["key_id"] for row in rows]


async def list_states(connection: Connection, job_no: int) -> dict[str, tuple[str, int]]:
    """Returns state and version of each key of a job, from which a stale message in JetStream is recognized."""
    rows = await connection.fetch(query("list_key_states"), job_no)
    return {row["key_id"]: (row["state"], row["version"]) for row in rows}


async def count_keys_ahead(connection: Connection, job_no: int) -> int:
    """Returns how many active keys have a present or next lease that begins in the future, by Postgres's clock."""
    return int(await connection.fetchval(query("count_keys_ahead"), job_no))


async def replace_wrapped(connection: Connection, keys: Sequence[WrappedKey]) -> int:
    """Stores the new wrappings of keys, except of those that were rewrapped in the meantime; returns how many it stored.

    Raises:
        DatabaseError: this login has done so too many times in the last hour; nothing was stored.
    """
    try:
        done = await connection.fetch(
            query("replace_wrapped"),
            [key.key_id for key in keys],
            [key.version for key in keys],
            [key.kek_id for key in keys],
            [key.wrapped for key in keys],
        )
    except asyncpg.ConfigurationLimitExceededError as error:
        raise DatabaseError(
            f"The keys can't be rewrapped now: {error}.",
            hint="If that was nobody of yours, the login is an intruder's: give the keys workers another one. Else wait, and repeat.",
        ) from None
    return len(done)


async def end_keys(connection: Connection, job_no: int, key_ids: Sequence[str], *, state: str) -> list[str]:
    """Retires or revokes keys of a job; returns the ids of those that changed. See `functions/end_keys.sql`.

    Raises:
        LockedError: another transaction holds the rows of these keys; the message names it.
    """
    async with naming_lockers(connection, ["keys"]):
        rows = await connection.fetch(query("end_keys"), job_no, list(key_ids), state)
    return [row["key_id"] for row in rows]


async def kek_ids_in_use(connection: Connection) -> set[str]:
    """Returns the key-encryption keys that some wrapped key still needs, over all jobs."""
    rows = await connection.fetch(query("list_kek_ids"))
    return {row["kek_id"] for row in rows}


def _wrapped(job: Job, row: asyncpg.Record) -> WrappedKey:
    return WrappedKey(
        job=job.token,
        key_id=row["key_id"],
        version=row["version"],
        algorithm=known_algorithm(row["algorithm"]),
        kek_id=row["kek_id"],
        wrapped=row["wrapped"],
        state=row["state"],
    )
