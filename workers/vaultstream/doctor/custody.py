"""The file of key-encryption keys: there, private, and able to unwrap every job's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.crypto.algorithms import private_key_from_bytes
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.doctor.findings import Finding, failed, failed_by, ok
from vaultstream.errors import CustodyError
from vaultstream.plurals import counted
from vaultstream.store.jobs import list_jobs
from vaultstream.store.keys import list_wrapped
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from vaultstream.crypto.envelope import WrappedKey
    from vaultstream.crypto.keyring import KeyRing
    from vaultstream.store.database import Connection

CHECK = "key-encryption keys"


def examine_kek_file(path: Path) -> tuple[Finding, KeyRing | None]:
    """Looks at the file alone; gives also the ring, None if the file can't be used."""
    try:
        ring = load_keyring(path)
    except CustodyError as error:
        return failed_by(CHECK, error), None
    return ok(CHECK, f"{path} has {counted(len(ring.keks), 'key')}; {ring.primary.kek_id} wraps."), ring


async def examine_custody(connection: Connection, path: Path, *, made_by_itself: bool) -> list[Finding]:
    """Looks at the file, and whether it unwraps what Postgres has.

    Args:
        connection: to a database with our schema.
        path: of the file.
        made_by_itself: whether a command makes the file if there is none; it is then missed only if a key needs it.
    """
    used = {row["kek_id"]: row["keys"] for row in await connection.fetch(query("count_wrapped_per_kek"))}
    file, ring = examine_kek_file(path)
    if ring is None:
        unborn = made_by_itself and not used and _missing(path)
        return [ok(CHECK, f"{path} is not there yet; any command makes it.") if unborn else file]
    return [file, judge_ring(ring, used), *await _unwrapping(connection, ring)]


def _missing(path: Path) -> bool:
    return not path.exists()


def judge_ring(ring: KeyRing, used: Mapping[str, int]) -> Finding:
    """Tells whether the ring has every key-encryption key that wrapped keys need (`used`: id to number of keys)."""
    missing = {kek_id: keys for kek_id, keys in used.items() if kek_id not in ring.ids}
    if missing:
        named = ", ".join(f"{kek_id} ({counted(keys, 'key')})" for kek_id, keys in missing.items())
        return failed(
            "wrapped keys",
            f"The ring lacks key-encryption keys that wrapped keys need: {named}.",
            "Put their lines back from a copy of the file; without them those private keys are lost.",
        )
    return ok(
        "wrapped keys",
        f"The ring has the key-encryption key of all {counted(sum(used.values()), 'wrapped key')}.",
    )


async def _unwrapping(connection: Connection, ring: KeyRing) -> list[Finding]:
    findings = []
    for job in await list_jobs(connection):
        known = [key for key in await list_wrapped(connection, job) if key.kek_id in ring.ids]
        if known:
            findings.append(judge_unwrapping(job.name, ring, known[0]))
    return findings


def judge_unwrapping(job: str, ring: KeyRing, wrapped: WrappedKey) -> Finding:
    """Tries whether one key of a job can be unwrapped, and is a private key."""
    check = f"unwrapping of {job}"
    try:
        private_key_from_bytes(unwrap(ring, wrapped))
    except CustodyError as error:
        return failed_by(check, error)
    return ok(check, f"{wrapped.key_id} can be unwrapped.")
