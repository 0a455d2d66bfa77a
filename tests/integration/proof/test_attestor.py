"""Checkpoints in Postgres are cosigned and stamped by others, who may be absent and may be wrong."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from support.engine import add_job, new_name
from support.litewitness import LiteWitness
from support.proving import path_over
from support.timestamping import Authority
from vaultstream.doctor.attestation import examine_attestation
from vaultstream.doctor.findings import Level
from vaultstream.errors import UsageError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.merkle import leaf_hash, tree_root
from vaultstream.proof.note import NoteKey, NoteSigningKey
from vaultstream.proof.witness import WitnessRefusal
from vaultstream.records.attesting import attesting
from vaultstream.role import WorkerRole
from vaultstream.sealing import growth
from vaultstream.sealing.attestor import ATTESTED, COSIGNED, STAMP, STAMPED, Attestor
from vaultstream.sealing.timestamp import TimestampAuthority
from vaultstream.sealing.witness import cosign
from vaultstream.settings import load_settings
from vaultstream.store.attestations import AttestationKind, add_attestation, newest_attested
from vaultstream.store.jobs import Job
from vaultstream.store.logs import (
    EntryKind,
    Log,
    NewEntry,
    add_checkpoint,
    append_entries,
    find_log,
    leaf_hashes,
    lock_log,
)
from vaultstream.telemetry.server import Telemetry
from vaultstream.worker import WorkerContext

pytestmark = pytest.mark.integration

COSIGNATURE, TIMESTAMP = AttestationKind.COSIGNATURE, AttestationKind.TIMESTAMP


class GrowingLog:
    """A log of plans and seals that a test lets grow."""

    def __init__(self, db: asyncpg.Connection, job: Job) -> None:
        self.key = NoteSigningKey(new_name("log"), Ed25519PrivateKey.generate())
        self.db = db
        self.job = job

    @property
    def keys(self) -> list[NoteKey]:
        return [self.key.public_key]

    async def grow(self, entries: int = 1) -> Log:
        async with self.db.transaction():
            log = await lock_log(self.db, self.key.name)
            made = [f'{{"jobToken":"{self.job.token}"}}{log.size + each}' for each in range(entries)]
            log = await append_entries(
                self.db,
                log,
                self.job.job_no,
                [NewEntry(kind=EntryKind.SEAL, leaf=leaf_hash(each.encode()), body=each) for each in made],
            )
            head = Checkpoint(log.origin, log.size, log.tree.root())
            await add_checkpoint(self.db, log, sign_checkpoint(head, self.key))
        return log


@pytest.fixture
async def growing(db: asyncpg.Connection) -> GrowingLog:
    growing = GrowingLog(db, await add_job(db))
    await growing.grow(3)
    return growing


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, whose `ts` is the authority")
    return Authority(tmp_path_factory.mktemp("authority") / "one")


async def test_the_newest_checkpoint_is_cosigned_and_stamped_once_and_copied(
    growing: GrowingLog,
    litewitness: LiteWitness,
    authority: Authority,
    tmp_path: Path,
) -> None:
    litewitness.know(growing.key.name, growing.key.public_key)
    folder, counted = tmp_path / "seals", Counter[tuple[AttestationKind, str]]()
    key = litewitness.witness.key
    async with authority.serving() as url:
        attestor = Attestor(
            growing.key.name,
            folder,
            witnesses=[litewitness.witness],
            authority=TimestampAuthority.load(url, authority.ca_file),
            count=lambda kind, outcome: counted.update([(kind, outcome)]),
        )
        for size in (3, 4, 9):
            log = await growing.grow(size - 3) if size > 4 else await growing.grow() if size == 4 else None
            for _ in range(2):
                assert await attestor.attest(growing.db, growing.keys)
            cosigned = open_checkpoint(
                (folder / COSIGNED).read_bytes(), growing.keys, origin=growing.key.name, witnesses=[key]
            )
            assert cosigned.witnesses([key]) == {key.name}
            assert authority.verifies(folder / STAMP, folder / STAMPED)
            stamped = open_checkpoint((folder / STAMPED).read_bytes(), growing.keys, origin=growing.key.name)
            assert log is None or stamped.checkpoint.size == cosigned.checkpoint.size == log.size
    assert counted == {(COSIGNATURE, ATTESTED): 3, (TIMESTAMP, ATTESTED): 3}


async def test_an_offer_reads_the_leaves_since_the_last_one(
    growing: GrowingLog, litewitness: LiteWitness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litewitness.know(growing.key.name, growing.key.public_key)
    read: list[tuple[int, int | None]] = []

    async def noted(*args: Any, first: int = 0, last: int | None = None) -> list[bytes]:
        read.append((first, last))
        return await leaf_hashes(*args, first=first, last=last)

    monkeypatch.setattr(growth, "leaf_hashes", noted)
    attestor = Attestor(growing.key.name, tmp_path, witnesses=[litewitness.witness])
    for grown in (0, 2, 5):
        if grown:
            await growing.grow(grown)
        assert await attestor.attest(growing.db, growing.keys)
    assert [each for each in read if each[0] != each[1]] == [(0, 3), (3, 5), (5, 10)]
    again = Attestor(growing.key.name, tmp_path, witnesses=[litewitness.witness])
    await growing.grow()
    assert await again.attest(growing.db, growing.keys)  # after a restart, from the beginning


async def test_a_false_attestation_keeps_no_real_one_out(
    growing: GrowingLog, litewitness: LiteWitness, authority: Authority, tmp_path: Path
) -> None:
    """Whoever has the login of the records workers can store some first."""
    litewitness.know(growing.key.name, growing.key.public_key)
    key, log = litewitness.witness.key, await growing.grow()
    newest = await newest_attested(growing.db, log)
    assert newest is not None
    async with authority.serving() as url:
        for value in (b"\xff", b"rubbish\n"):
            await add_attestation(growing.db, newest, COSIGNATURE, key.vkey, value)
            await add_attestation(growing.db, newest, TIMESTAMP, url, value)
        attestor = Attestor(
            growing.key.name,
            tmp_path,
            witnesses=[litewitness.witness],
            authority=TimestampAuthority.load(url, authority.ca_file),
        )
        assert await attestor.attest(growing.db, growing.keys)
    cosigned = open_checkpoint(
        (tmp_path / COSIGNED).read_bytes(), growing.keys, origin=growing.key.name, witnesses=[key]
    )
    assert cosigned.witnesses([key]) == {key.name}
    assert authority.verifies(tmp_path / STAMP, tmp_path / STAMPED)


async def test_who_is_absent_is_warned_about_once_and_asked_again(
    growing: GrowingLog,
    litewitness: LiteWitness,
    authority: Authority,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with authority.serving() as url:
        pass
    attestor = Attestor(
        growing.key.name,
        tmp_path / "seals",
        witnesses=[litewitness.witness],
        authority=TimestampAuthority.load(url, authority.ca_file),
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert not await attestor.attest(growing.db, growing.keys)
            await growing.grow()
    assert sorted(record.message.partition(":")[0] for record in caplog.records) == [
        "the checkpoint has no cosignature",
        "the checkpoint has no timestamp",
    ]
    assert not (tmp_path / "seals").exists()
    litewitness.know(growing.key.name, growing.key.public_key)
    assert not await attestor.attest(growing.db, growing.keys)
    assert [path.name for path in (tmp_path / "seals").iterdir()] == [COSIGNED]


async def test_a_log_that_was_rolled_back_is_told_by_its_witness(
    growing: GrowingLog,
    litewitness: LiteWitness,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The witness has seen what is no longer in Postgres."""
    litewitness.know(growing.key.name, growing.key.public_key)
    leaves = [leaf_hash(bytes([each])) for each in range(9)]
    note = sign_checkpoint(Checkpoint(growing.key.name, 9, tree_root(leaves)), growing.key)
    seen = open_checkpoint(note, growing.keys, origin=growing.key.name)
    await cosign(litewitness.witness, seen, note, path_over(leaves))
    outcomes: list[str] = []
    attestor = Attestor(
        growing.key.name,
        tmp_path,
        witnesses=[litewitness.witness],
        count=lambda _, outcome: outcomes.append(outcome),
    )
    assert not await attestor.attest(growing.db, growing.keys)
    assert "has seen 9 entries" in caplog.text
    await growing.grow(7)
    assert not await attestor.attest(growing.db, growing.keys)
    assert outcomes == [WitnessRefusal.INCONSISTENT] * 2


async def test_a_worker_has_checkpoints_attested_when_it_ends_and_doctor_says_by_whom(
    growing: GrowingLog, litewitness: LiteWitness, engine_url: str, tmp_path: Path
) -> None:
    context = context_of(growing, engine_url, tmp_path, litewitness)
    settings, seal_key = context.settings, context.seal_key_file
    litewitness.know(growing.key.name, growing.key.public_key)
    [missing] = await examine_attestation(growing.db, settings, seal_key)
    assert (missing.level, "w1" in missing.message) == (Level.WARNING, True)
    async with attesting(context):
        assert not (tmp_path / "seals").exists()
    assert (tmp_path / "seals" / COSIGNED).exists()
    counted = context.telemetry.metrics.records.attestations.labels(COSIGNATURE, ATTESTED)
    assert counted._value.get() == 1
    assert [each.level for each in await examine_attestation(growing.db, settings, seal_key)] == [Level.OK]


@pytest.fixture
def hurried_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that exits waits less for others than one of them is waited for."""
    monkeypatch.setattr("vaultstream.records.attesting.LAST_ATTESTATION_SECONDS", 1.5)


@pytest.mark.usefixtures("hurried_end")
async def test_a_witness_that_does_not_answer_voids_no_attestation_of_others_at_the_end_of_a_job(
    growing: GrowingLog,
    litewitness: LiteWitness,
    authority: Authority,
    engine_url: str,
    tmp_path: Path,
) -> None:
    litewitness.know(growing.key.name, growing.key.public_key)
    context = context_of(growing, engine_url, tmp_path, litewitness)
    slow = CosignerKey("slow.example.com/w", Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    server = await asyncio.start_server(lambda reader, _: reader.read(), "127.0.0.1", 0)
    async with server, authority.serving() as url:
        port = server.sockets[0].getsockname()[1]
        settings = context.settings.model_copy(
            update={
                "witnesses": f"{slow.vkey} http://127.0.0.1:{port}, {litewitness.setting}",
                "timestamp_url": url,
                "timestamp_ca_file": authority.ca_file,
            }
        )
        async with attesting(replace(context, settings=settings)):
            pass
    log = await find_log(growing.db, growing.key.name)
    assert log is not None
    newest = await newest_attested(growing.db, log)
    assert newest is not None
    assert list(newest.of(COSIGNATURE)) == [litewitness.witness.key.vkey]
    assert list(newest.of(TIMESTAMP)) == [url]


@pytest.mark.parametrize("fault", ["malformed", "no seal key", "no database"])
async def test_a_worker_goes_on_whatever_is_wrong_with_attestation(
    growing: GrowingLog, litewitness: LiteWitness, engine_url: str, tmp_path: Path, fault: str
) -> None:
    url = "postgresql://127.0.0.1:1/none" if fault == "no database" else engine_url
    context = context_of(growing, url, tmp_path, litewitness)
    if fault == "malformed":
        settings = context.settings.model_copy(update={"witnesses": "nobody"})
        context = replace(context, settings=settings)
        [finding] = await examine_attestation(growing.db, settings, context.seal_key_file)
        assert finding.level is Level.FAILED
    elif fault == "no seal key":
        context.seal_key_file.unlink()
    async with attesting(context):
        pass
    assert not (tmp_path / "seals").exists()


def context_of(growing: GrowingLog, url: str, folder: Path, witness: LiteWitness) -> WorkerContext:
    """Returns what a records worker works with, as far as it attests."""
    seal_key = folder / "seal-key"
    seal_key.write_text(growing.key.skey + "\n")
    seal_key.chmod(0o600)
    settings = load_settings(
        database_url=url,
        seal_key_file=seal_key,
        seals_dir=folder / "seals",
        witnesses=witness.setting,
    )
    unused: Any = None
    return WorkerContext(
        settings, growing.job, unused, unused, "records", asyncio.Event(), Telemetry(WorkerRole.RECORDS)
    )


async def test_attestations_are_kept_as_they_came_and_nothing_changes_them(
    growing: GrowingLog, litewitness: LiteWitness, tmp_path: Path
) -> None:
    litewitness.know(growing.key.name, growing.key.public_key)
    await Attestor(growing.key.name, tmp_path, witnesses=[litewitness.witness]).attest(
        growing.db, growing.keys
    )
    log = await growing.grow()
    found = await newest_attested(growing.db, log, COSIGNATURE)
    assert found is not None
    assert (found.size, list(found.of(COSIGNATURE))) == (3, [litewitness.witness.key.vkey])
    newest = await newest_attested(growing.db, log)
    assert newest is not None
    assert (newest.size, newest.attestations) == (4, {})
    for statement in (
        "UPDATE vaultstream.attestations SET value = ''",
        "DELETE FROM vaultstream.attestations",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await growing.db.execute(statement)


def test_the_settings_name_who_is_asked(
    litewitness: LiteWitness, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attestor(**settings: str) -> Attestor:
        for name in ("WITNESSES", "TIMESTAMP_URL", "TIMESTAMP_CA_FILE"):
            monkeypatch.setenv(f"VAULTSTREAM_{name}", settings.get(name, ""))
        return Attestor.of(load_settings(), "origin", tmp_path, lambda _kind, _outcome: None)

    text = litewitness.setting
    assert not attestor().needed
    assert attestor(WITNESSES=text).needed
    assert attestor(TIMESTAMP_URL="http://example.com", TIMESTAMP_CA_FILE=str(authority.ca_file)).needed
    for wrong in (
        {"WITNESSES": text.replace("127.0.0.1", "10.0.0.1")},
        {"TIMESTAMP_URL": "http://example.com"},
    ):
        with pytest.raises(UsageError) as error:
            attestor(**wrong)
        assert error.value.hint
