"""What someone who has the login of the keys workers tries: on keys that have ended, and on jobs of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key

from support.as_user import connect
from support.engine import add_job, waits_for_a_lock
from support.guarded import GuardedDatabase
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import algorithm_of, public_key_from_bytes, public_key_to_bytes
from vaultstream.errors import CustodyError
from vaultstream.keys.changes import free_ordinals
from vaultstream.store import keys
from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration


def new_public_key() -> bytes:
    return public_key_to_bytes(Ed25519PrivateKey.generate())


PUBLIC = new_public_key()
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303021022
"""y of a point of order 8."""
ADD = "INSERT INTO vaultstream.keys (job_no, ordinal, key_id, algorithm, public_key) VALUES ($1, $2, $3, $4, $5)"
MATERIAL = (
    "INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, 1, 'kek', 'wrapped')"
)


@pytest.fixture
async def job(owner: asyncpg.Connection) -> AsyncIterator[Job]:
    job = await add_job(owner, keys=2)
    await owner.execute(
        "INSERT INTO vaultstream.key_material SELECT key_no, 2, 'kek', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
        job.job_no,
    )
    yield job
    await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)


@pytest.fixture
async def keeper(database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(database.urls["keys"]) as connection:
        yield connection


async def add(keeper: asyncpg.Connection, *key: object) -> None:
    async with keeper.transaction():
        key_no = await keeper.fetchval(f"{ADD} RETURNING key_no", *key)
        await keeper.execute(MATERIAL, key_no)


async def states_of(owner: asyncpg.Connection, job: Job) -> list[tuple[str, bool]]:
    return [(key.state, key.ended_at is not None) for key in await keys.list_keys(owner, job.job_no)]


@pytest.mark.parametrize("state", ["active", "", "lost", None])
async def test_a_key_ends_retired_or_revoked_and_never_comes_back(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job, state: str | None
) -> None:
    ids = [key.key_id for key in await keys.list_keys(owner, job.job_no)]
    assert await keys.end_keys(keeper, job.job_no, ids[:1], state="revoked") == ids[:1]
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await keeper.execute("SELECT vaultstream.end_keys($1, $2, $3)", job.job_no, ids, state)
    assert await keys.end_keys(keeper, job.job_no, ids[:1], state="retired") == []
    assert await states_of(owner, job) == [("revoked", True), ("active", False)]


@pytest.mark.parametrize(
    "key",
    [
        (9, "{token}-9-a", "ML_DSA_65", PUBLIC),
        (9, "{token}-9-a", "ROT13", PUBLIC),
        (9, "{token}-9-a", "ED25519", b""),
        (9, "another-9-a", "ED25519", PUBLIC),
        (0, "{token}-0-a", "ED25519", PUBLIC),
        (-1, "{token}-0-a", "ED25519", PUBLIC),
        (2**31 - 1, "{token}-9-a", "ED25519", PUBLIC),
        (9, "{token}-8-a", "ED25519", PUBLIC),
        (9, "{token}-90", "ED25519", PUBLIC),
        (1_000_000, "{token}-1000000", "ED25519", PUBLIC),
        (9, "{token}-9-\x1b[2J", "ED25519", PUBLIC),
        (9, "{token}-" + "9" * 200, "ED25519", PUBLIC),
        (9, "{token}-9-a", "ED25519", b"p" * 100_000),
    ],
)
async def test_a_key_has_the_algorithm_and_the_name_of_its_job(
    keeper: asyncpg.Connection, job: Job, key: tuple[int, str, str, bytes]
) -> None:
    ordinal, key_id, algorithm, public_key = key
    with pytest.raises(asyncpg.CheckViolationError):
        await add(keeper, job.job_no, ordinal, key_id.format(token=job.token), algorithm, public_key)
    await add(keeper, job.job_no, 9, f"{job.token}-9-a", "ED25519", PUBLIC)


async def test_no_ordinal_and_no_name_of_a_key_keeps_others_from_being_made(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """A row from before a guard, at the last ordinal, included."""
    await owner.execute(ADD, job.job_no, 1_000_000, f"{job.token}-1000000", "ED25519", PUBLIC)
    present = await keys.ordinals(keeper, job.job_no)
    [free] = free_ordinals(present, job.spec.keys.count, 1)
    await add(keeper, job.job_no, free, f"{job.token}-{free}-a", "ED25519", new_public_key())
    assert free < 10


async def test_one_key_is_not_stored_as_two(
    database: GuardedDatabase, keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """Both would be leased at once: one private key in use by two."""
    public_key = new_public_key()
    again = (job.job_no, 10, f"{job.token}-10-a", "ED25519", public_key)
    async with connect(database.urls["keys"]) as second:
        for level in ("READ COMMITTED", "REPEATABLE READ"):
            await owner.execute("DELETE FROM vaultstream.keys WHERE job_no = $1 AND ordinal = 9", job.job_no)
            await second.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM vaultstream.keys")
            async with keeper.transaction():
                await add(keeper, job.job_no, 9, f"{job.token}-9-a", "ED25519", public_key)
                adding = asyncio.create_task(second.execute(ADD, *again))
                await waits_for_a_lock(owner)
            with pytest.raises(asyncpg.CheckViolationError, match="under another name"):
                await adding
            await second.execute("ROLLBACK")
    with pytest.raises(asyncpg.CheckViolationError, match="under another name"):
        await add(keeper, *again)
    await add(keeper, job.job_no, 10, f"{job.token}-10-a", "ED25519", new_public_key())


def is_key(data: bytes, algorithm: Algorithm) -> bool:
    try:
        return algorithm_of(public_key_from_bytes(data)) is algorithm
    except CustodyError:
        return False


async def test_what_is_no_public_key_is_not_stored_as_one(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """Nobody can delete it, and no set of the job's keys could be exported."""
    curve = [new_ec_key(SECP256R1()) for _ in range(3)]
    for algorithm, good in (
        (Algorithm.ECDSA_P256_SHA256, [public_key_to_bytes(key) for key in curve]),
        (Algorithm.ED25519, [public_key_to_bytes(Ed25519PrivateKey.generate()) for _ in range(8)]),
        (Algorithm.RSA_PSS_3072_SHA256, [public_key_to_bytes(new_rsa_key(65537, 3072))]),
        (Algorithm.ML_DSA_65, [public_key_to_bytes(MLDSA65PrivateKey.generate())]),
    ):
        tried = [b"\0", *good]
        for key in good:
            tried += [key[:-1], key + b"\0", key[:-1] + bytes([key[-1] ^ 1]), bytes([key[0] ^ 1]) + key[1:]]
        if (
            algorithm is Algorithm.ED25519
        ):  # points of small order, other encodings, and numbers that are no point
            numbers = [*range(12), *(2**255 - 19 + n for n in range(-3, 19)), ORDER_8, 2**255 - 19 - ORDER_8]
            signed = [n | sign for n in numbers for sign in (0, 1 << 255)]
            tried += [PUBLIC[:12] + number.to_bytes(32, "little") for number in signed]
        asked = "SELECT vaultstream.is_public_key($1, key) FROM unnest($2::bytea[]) WITH ORDINALITY AS t (key, n) ORDER BY n"
        told = [row[0] for row in await owner.fetch(asked, str(algorithm), tried)]
        assert told == [is_key(key, algorithm) for key in tried]
        assert sum(told) >= len(good)
    with pytest.raises(asyncpg.CheckViolationError):
        await add(keeper, job.job_no, 9, f"{job.token}-9-a", "ED25519", PUBLIC[:-1])


async def test_a_deleted_job_gets_no_key(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    await owner.execute("SELECT vaultstream.delete_job($1, 'Retain')", job.job_no)
    with pytest.raises(asyncpg.CheckViolationError):
        await add(keeper, job.job_no, 9, f"{job.token}-9-a", "ED25519", PUBLIC)


@pytest.mark.parametrize("change", ["version = 1", "version = 2", "version = 4", "wrapped = 'older'"])
async def test_a_key_is_wrapped_again_under_the_next_version_only(
    keeper: asyncpg.Connection, job: Job, change: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await keeper.execute(f"UPDATE vaultstream.key_material SET {change}")
    await keeper.execute("UPDATE vaultstream.key_material SET version = 3, wrapped = 'again'")


async def test_a_key_without_its_private_half_is_not_added(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    """Each signer that leased it would end."""

    async def add_half(name: str) -> None:
        await keeper.execute(ADD, job.job_no, 9, f"{job.token}-9-{name}", "ED25519", PUBLIC)

    with pytest.raises(asyncpg.CheckViolationError, match="has no wrapped private half"):
        await add_half("a")
    attempt = keeper.transaction()
    await attempt.start()
    await add_half("b")
    with pytest.raises(asyncpg.CheckViolationError, match="has no wrapped private half"):
        await attempt.commit()
    await add(keeper, job.job_no, 9, f"{job.token}-9-c", "ED25519", PUBLIC)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await keeper.execute("DELETE FROM vaultstream.key_material")
    assert [key.key_id for key in await keys.list_keys(owner, job.job_no)][2:] == [f"{job.token}-9-c"]


async def test_a_private_key_is_added_to_an_active_key_as_its_first_version(
    keeper: asyncpg.Connection, owner: asyncpg.Connection, job: Job
) -> None:
    add = "INSERT INTO vaultstream.key_material (key_no, version, kek_id, wrapped) VALUES ($1, $2, 'kek', 'wrapped')"
    numbers = await owner.fetch(
        "SELECT key_no FROM vaultstream.keys WHERE job_no = $1 ORDER BY 1", job.job_no
    )
    active, ended = (row["key_no"] for row in numbers)
    await owner.execute("DELETE FROM vaultstream.key_material WHERE key_no = ANY ($1)", [active, ended])
    await keys.end_keys(keeper, job.job_no, [f"{job.token}-2"], state="revoked")
    for key_no, version in ((active, 99), (active, 0), (ended, 1)):
        with pytest.raises(asyncpg.CheckViolationError):
            await keeper.execute(add, key_no, version)
    await keeper.execute(add, active, 1)
