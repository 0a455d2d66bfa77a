"""`vaultstream keys`: what people see of keys, and what they change."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.bus.keys import KeysStream
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.proof.key_set import verify_key_set
from vaultstream.store.keys import list_states, list_wrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from integration.cli.conftest import RunCli
    from vaultstream.crypto.envelope import WrappedKey
    from vaultstream.local.services import Services
    from vaultstream.store.jobs import Job

    MakeJob = Callable[..., Awaitable[Job]]

pytestmark = pytest.mark.integration


def test_list_shows_how_evenly_keys_were_used_and_nothing_private(run_cli: RunCli, small_job: str) -> None:
    shown = json.loads(run_cli("keys", "list", small_job, "--json").stdout)

    assert sum(key["batches"] for key in shown) == 40
    assert min(key["batches"] for key in shown) >= 5
    assert {key["state"] for key in shown} == {"active"}
    assert not {"wrapped", "private_key"} & set(shown[0])
    assert shown[0]["key_id"] in run_cli("keys", "list", small_job).stdout


async def test_a_key_set_is_exported_with_the_proof_of_the_seal_key(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services, tmp_path: Path
) -> None:
    job = await make_job("vouched")
    file = tmp_path / "keys.jwks"
    before = await connection.fetchval("SELECT now()")
    done = run_cli("keys", "export", "vouched", "--signed", "--output", str(file))

    seal_keys = load_seal_keys(cli_services.data_dir / "seal-key")
    proof = (tmp_path / "keys.jwks.tlog-proof").read_bytes()
    verify_key_set(file.read_bytes(), proof, job.token, seal_keys.known)
    exported = json.loads(file.read_bytes())
    assert exported["vaultstream.dev/job"] == job.token
    assert before <= datetime.fromisoformat(exported["vaultstream.dev/exportedAt"])
    assert len(exported["keys"]) == 3
    assert seal_keys.signing.public_key.vkey in done.stderr
    assert "PRIVATE" not in done.stdout + done.stderr
    assert set(json.loads(run_cli("keys", "export", "vouched").stdout)) == {"keys"}

    for wrong in ((), ("--output", str(tmp_path / "pem"), "--format", "pem")):
        refused = run_cli("keys", "export", "vouched", "--signed", *wrong, check=False)
        assert (refused.returncode, refused.stdout) == (2, "")
    nowhere = {"VAULTSTREAM_SEAL_KEY_FILE": str(tmp_path / "missing")}
    refused = run_cli(
        "keys", "export", "vouched", "--signed", "-o", str(tmp_path / "no"), env=nowhere, check=False
    )
    assert refused.returncode == 6
    assert not (tmp_path / "no").exists()


async def test_exports_have_every_public_key_with_its_state(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    job = await make_job("exported")
    ids = list(await list_states(connection, job.job_no))
    run_cli("keys", "revoke", "exported", ids[1])

    everything = ("keys", "export", "exported", "--include-revoked")
    jwks = json.loads(run_cli(*everything).stdout)["keys"]
    run_cli(*everything, "--format", "pem", "--output", str(tmp_path / "keys.pem"))
    blocks = (tmp_path / "keys.pem").read_text().split("# ")[1:]

    assert [key["kid"] for key in jwks] == ids
    assert [key["state"] for key in jwks] == ["active", "revoked", "active"]
    assert ["revoked" in key for key in jwks] == [False, True, False]
    assert not any("d" in key for key in jwks)
    assert blocks[1].startswith(f"{ids[1]} (ED25519, revoked)\n")
    for key, block in zip(jwks, blocks, strict=True):
        public = load_pem_public_key(block.partition("\n")[2].encode())
        assert isinstance(public, Ed25519PublicKey)
        assert base64.urlsafe_b64decode(key["x"] + "=") == public.public_bytes_raw()


async def test_a_revoked_key_is_left_out_unless_it_is_asked_for(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("trusted")
    first, second, third = list(await list_states(connection, job.job_no))
    run_cli("keys", "revoke", "trusted", second)
    run_cli("keys", "retire", "trusted", third)

    exported = run_cli("keys", "export", "trusted")
    pem = run_cli("keys", "export", "trusted", "--format", "pem").stdout

    assert [(key["kid"], key["state"]) for key in json.loads(exported.stdout)["keys"]] == [
        (first, "active"),
        (third, "retired"),
    ]
    assert "1 revoked key left out" in exported.stderr
    assert second not in pem
    assert pem.count("BEGIN PUBLIC KEY") == 2


async def test_an_unknown_key_is_named_and_nothing_is_changed(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection
) -> None:
    job = await make_job("misnamed")
    known = next(iter(await list_states(connection, job.job_no)))

    refused = run_cli("keys", "retire", "misnamed", known, "no-such-key", check=False)

    assert refused.returncode == 2
    assert "'no-such-key'" in refused.stderr
    assert known not in refused.stderr
    assert {state for state, _ in (await list_states(connection, job.job_no)).values()} == {"active"}


async def test_a_change_is_announced_to_signers_and_ending_the_last_key_gives_a_warning(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("changing")
    first, second, third = await list_states(connection, job.job_no)

    retired = run_cli("keys", "retire", "changing", first, second)
    assert retired.stdout.split() == [first, second]
    assert "2 keys retired; job changing has 1 active key." in retired.stderr
    again = json.loads(run_cli("keys", "retire", "changing", first, "--json").stdout)
    assert (again["retired"], again["keys"]["active"]) == ([], 1)

    revoked = run_cli("keys", "revoke", "changing", "--all")
    assert set(revoked.stdout.split()) == {first, second, third}
    assert "waits for one. Add keys: `vaultstream keys add changing --count N`" in revoked.stderr

    assert {key.state for key in await _published(cli_services, job, 3)} == {"revoked"}


async def test_added_keys_are_wrapped_active_and_announced_to_signers(
    run_cli: RunCli, make_job: MakeJob, connection: asyncpg.Connection, cli_services: Services
) -> None:
    job = await make_job("growing")

    added = json.loads(run_cli("keys", "add", "growing", "--count", "2", "--json").stdout)

    assert len(added["added"]) == 2
    assert added["keys"]["active"] == 5
    wrapped = {key.key_id: key for key in await list_wrapped(connection, job)}
    ring = load_keyring(cli_services.kek_file)
    assert all(unwrap(ring, wrapped[key_id]) for key_id in added["added"])
    assert {key.key_id for key in await _published(cli_services, job, 2)} == set(added["added"])


async def test_ending_keys_requires_names_or_all(run_cli: RunCli, small_job: str) -> None:
    neither = run_cli("keys", "retire", small_job, check=False)
    both = run_cli("keys", "retire", small_job, "a-key", "--all", check=False)

    assert neither.returncode == both.returncode == 2
    assert "--all" in neither.stderr


def test_init_makes_a_private_file_and_never_overwrites_one(run_cli: RunCli, tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "kek"

    run_cli("keys", "init", "--kek-file", str(path))
    before = path.read_bytes()
    again = run_cli("keys", "init", "--kek-file", str(path), check=False)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(load_keyring(path).keks) == 1
    assert again.returncode == 6
    assert "never overwritten" in again.stderr
    assert path.read_bytes() == before


async def test_init_creates_no_second_file_where_keys_may_be_wrapped(
    run_cli: RunCli, make_job: MakeJob, cli_services: Services, tmp_path: Path
) -> None:
    await make_job("wrapped-before")
    kek_id = load_keyring(cli_services.kek_file).primary.kek_id
    lost, elsewhere = cli_services.kek_file, tmp_path / "kek"
    put_away = lost.rename(tmp_path / "put-away")
    try:
        beside_data = run_cli("keys", "init", check=False)
        made = lost.exists()
    finally:
        put_away.replace(lost)
    env = {"DATABASE_URL": cli_services.database_url}
    beside_database = run_cli("keys", "init", "--kek-file", str(elsewhere), env=env, check=False)
    (tmp_path / "slept" / "postgres").mkdir(parents=True)
    asleep = run_cli("keys", "init", "--data-dir", str(tmp_path / "slept"), check=False)

    assert [done.returncode for done in (beside_data, beside_database, asleep)] == [6, 6, 6]
    assert kek_id in beside_data.stderr
    assert kek_id in beside_database.stderr
    assert "Put the old file back" in beside_database.stderr
    assert "was used before" in asleep.stderr
    assert not made
    assert not elsewhere.exists()
    assert not (tmp_path / "slept" / "kek").exists()
    run_cli("keys", "init", "--kek-file", str(elsewhere), "--force", env=env)
    assert load_keyring(elsewhere).primary.kek_id != kek_id


def test_init_makes_a_file_for_a_database_that_has_no_keys_yet(
    run_cli: RunCli, database_url: str, tmp_path: Path
) -> None:
    run_cli("keys", "init", "--kek-file", str(tmp_path / "kek"), env={"DATABASE_URL": database_url})
    assert len(load_keyring(tmp_path / "kek").keks) == 1


async def test_without_a_key_encryption_key_no_key_is_added_and_the_fix_is_named(
    run_cli: RunCli, make_job: MakeJob, cli_services: Services, tmp_path: Path
) -> None:
    await make_job("keyless")
    env = {
        "DATABASE_URL": cli_services.database_url,
        "VAULTSTREAM_NATS_URL": cli_services.nats_url,
        "VAULTSTREAM_KEK_FILE": str(tmp_path / "none"),
    }

    refused = run_cli("keys", "add", "keyless", env=env, check=False)

    assert refused.returncode == 6
    assert "vaultstream keys init" in refused.stderr


async def _published(services: Services, job: Job, wanted: int) -> list[WrappedKey]:
    """The present form of a job's keys on the stream, which holds `wanted` of them."""
    seen: list[WrappedKey] = []
    complete = asyncio.Event()

    def on_key(key: WrappedKey) -> None:
        seen.append(key)
        if len(seen) == wanted:
            complete.set()

    address = BusAddress(services.nats_url, services.nats_user, services.nats_password)
    async with connect_bus(address, role="test") as bus:
        assert await KeysStream(bus).count(job.token) == wanted
        await KeysStream(bus).watch(job.token, on_key)
        await asyncio.wait_for(complete.wait(), 10)
    return seen
