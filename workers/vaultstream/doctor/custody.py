"""Checks the file of key-encryption keys: it exists, is private, and unwraps every job's keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.crypto.algorithms import private_key_from_bytes, public_key_to_bytes
from vaultstream.crypto.envelope import unwrapped
from vaultstream.crypto.keyring import load_keyring
from vaultstream.doctor.findings import Finding, failed, failed_by, ok
from vaultstream.errors import CustodyError
from vaultstream.plurals import counted
from vaultstream.store.jobs import list_jobs
from vaultstream.store.keys import list_public_keys, list_wrapped, may_read_wrapped
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vaultstream.crypto.envelope import WrappedKey
    from vaultstream.crypto.keyring import KeyRing
    from vaultstream.store.database import Connection

CHECK = "key-encryption keys"
_SHOWN = 10
"""Missing key-encryption keys that are named; a keys login can add keys with any names of them."""


def examine_kek_file(path: Path) -> tuple[Finding, KeyRing | None]:
    """Checks the file alone; also returns the ring, None if the file can't be used."""
    try:
        ring = load_keyring(path)
    except CustodyError as error:
        return failed_by(CHECK, error), None
    return ok(
        CHECK, f"{path} has {counted(len(ring.keks), 'key')}, and {ring.primary.kek_id} is used to wrap."
    ), ring


async def examine_custody(connection: Connection, path: Path, *, made_by_itself: bool) -> list[Finding]:
    """Checks the file, and whether it unwraps the keys in Postgres.

    Args:
        connection: to a database with our schema.
        path: path of the file.
        made_by_itself: whether commands create a missing file; then it is a fault only if a wrapped key needs it.
    """
    if not await may_read_wrapped(connection):
        present = [] if _missing(path) else [examine_kek_file(path)[0]]
        return [
            *present,
            ok("wrapped keys", "Not checked: this user may not read them. An auditor need not."),
        ]
    used = {row["kek_id"]: row["keys"] for row in await connection.fetch(query("count_wrapped_per_kek"))}
    file, ring = examine_kek_file(path)
    if ring is None:
        unborn = made_by_itself and not used and _missing(path)
        return [
            ok(CHECK, f"{path} does not exist yet; the first command that needs it creates it.")
            if unborn
            else file
        ]
    return [file, judge_ring(ring, used), *await _unwrapping(connection, ring)]


def _missing(path: Path) -> bool:
    return not path.exists()


def judge_ring(ring: KeyRing, used: Mapping[str, int]) -> Finding:
    """Checks that the file has every key-encryption key that wrapped keys need (`used`: id to number of keys)."""
    missing = {kek_id: keys for kek_id, keys in used.items() if kek_id not in ring.ids}
    if missing:
        shown = [f"{kek_id[:100]} ({counted(keys, 'key')})" for kek_id, keys in missing.items()]
        more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
        named = ", ".join(shown[:_SHOWN]) + more
        return failed(
            "wrapped keys",
            f"The ring lacks key-encryption keys that wrapped keys need: {named}.",
            "Restore their lines from a copy of the file; without them those private keys are lost.",
        )
    return ok(
        "wrapped keys",
        f"The file has the key-encryption keys of {counted(sum(used.values()), 'wrapped key')}.",
    )


async def _unwrapping(connection: Connection, ring: KeyRing) -> list[Finding]:
    findings = []
    for job in await list_jobs(connection):
        known = [key for key in await list_wrapped(connection, job) if key.kek_id in ring.ids]
        if known:
            public_keys = await list_public_keys(connection, job.job_no)
            findings.append(judge_unwrapping(job.name, ring, known, public_keys))
    return findings


def judge_unwrapping(
    job: str, ring: KeyRing, wrapped: Sequence[WrappedKey], public_keys: Mapping[str, bytes]
) -> Finding:
    """Checks that each key of a job can be unwrapped, and that its public half in Postgres belongs to it.

    Args:
        job: the job's name.
        ring: has the key-encryption keys of all of `wrapped`.
        wrapped: the keys, at least one.
        public_keys: their public halves in Postgres, by key id.
    """
    check = f"unwrapping of {job}"
    for key in wrapped:
        try:
            with unwrapped(ring, key) as der:
                private_key = private_key_from_bytes(der)
        except CustodyError as error:
            return failed_by(check, error)
        if public_key_to_bytes(private_key) != public_keys.get(key.key_id):
            return failed(
                check,
                f"The public half of {key.key_id} in Postgres does not belong to its private half: someone changed it.",
                f"No signer uses the key. Replace it: `vaultstream keys revoke {job} {key.key_id}` and "
                f"`vaultstream keys add {job}`.",
            )
    return ok(
        check,
        f"{counted(len(wrapped), 'key')} can be unwrapped and {'belongs' if len(wrapped) == 1 else 'belong'} to "
        f"{'its public half' if len(wrapped) == 1 else 'their public halves'}.",
    )
