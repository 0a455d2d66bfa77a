"""Searches for private keys and key-encryption keys wherever they must not be."""

from __future__ import annotations

import base64
import gzip
import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.e2e import etcd
from support.e2e.release import NAME
from support.e2e.site import HOME, NAMESPACES
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.crypto.revocations import Revocation, add_revocations
from vaultstream.crypto.seal_keys import parse_seal_keys
from vaultstream.keys.rewrap import rewrap_job
from vaultstream.store.jobs import get_job
from vaultstream.store.keys import list_keys, list_wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.e2e.site import Site

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

RECORDS = 10_000
ROTATED_RECORDS = 20_000
KEYS = {"count": 12, "algorithm": "ED25519"}
PIECE = 30
"""Length of each searched piece of a secret, in bytes: too long to occur by chance, and short enough to lie within a line or page."""


def forms(secret: bytes) -> Iterator[bytes]:
    """Yields pieces of a secret as it is, in hex and in base64 at each alignment."""
    for start in (0, len(secret) // 2, len(secret) - PIECE):
        piece = secret[start : start + PIECE]
        yield piece
        yield piece.hex().encode()
        for shift in range(3):
            yield base64.b64encode(piece[shift : shift + 24])
    encoded = base64.b64encode(secret)[: 2 * PIECE]
    yield encoded
    for shift in range(3):  # encoded twice, like a file in a manifest
        yield base64.b64encode(b" " * shift + encoded)[4:-8]


async def key_encryption_keys(site: Site) -> list[bytes]:
    """The key-encryption keys of all namespaces."""
    return [
        base64.b64decode(line.split()[1])
        for namespace in NAMESPACES
        for line in (await site.secret(f"{NAME}-kek", "kek", namespace)).splitlines()
        if line.startswith("kek-")
    ]


async def seal_keys(site: Site) -> list[bytes]:
    """The private halves of the seal keys of all namespaces."""
    texts = [await site.secret(f"{NAME}-seal-key", "seal-key", namespace) for namespace in NAMESPACES]
    return [parse_seal_keys(text.encode(), NAME).signing.private.private_bytes_raw() for text in texts]


async def private_keys(site: Site, name: str, folder: Path) -> list[bytes]:
    """The private parts of a job's private keys."""
    file = folder / "kek"
    file.write_text(await site.secret(f"{NAME}-kek", "kek"))
    file.chmod(0o600)
    ring = load_keyring(file)
    async with site.database() as db:
        job = await get_job(db, (await site.status(name))["token"])
        wrapped = await list_wrapped(db, job)
    return [unwrap(ring, each)[-1200:] for each in wrapped]  # a PKCS#8 key begins with the public half


def found(needles: list[bytes], content: bytes) -> bool:
    return any(needle in content for needle in needles)


def files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Yields the files in folders, skipping those that disappear meanwhile, as files of Postgres and NATS do."""
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink():
                    yield path, path.read_bytes()


def process_settings() -> Iterator[tuple[Path, bytes]]:
    """Yields the environment and the arguments of every process in a container of the node."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            if "kubepods" in (process / "cgroup").read_text():
                for part in (process / "environ", process / "cmdline"):
                    yield part, part.read_bytes()


async def wrapped_keys(site: Site, name: str) -> list[bytes]:
    """A job's wrapped keys, as they are stored on disks."""
    async with site.database() as db:
        job = await get_job(db, (await site.status(name))["token"])
        return [key.wrapped for key in await list_wrapped(db, job)]


async def test_no_key_is_in_plaintext_outside_its_secret(site: Site, tmp_path: Path) -> None:
    await site.slow_view("custody", RECORDS)
    await site.apply("custody")
    await site.has_signed("custody", 1)
    told = list(process_settings())
    await suspend(site, "custody", True)  # the data of an unfinished job stays in NATS and Postgres
    keks = await key_encryption_keys(site)
    keys = await private_keys(site, "custody", tmp_path)
    sealing = await seal_keys(site)
    assert (len(keks), len(sealing), len(keys)) == (len(NAMESPACES), len(NAMESPACES), 12)
    needles = [form for secret in (*keks, *sealing, *keys) for form in forms(secret)]

    # The search works: it finds the Secrets themselves, and the wrapped keys on disks.
    own = {
        f"/registry/secrets/{namespace}/{NAME}-{kind}"
        for namespace in NAMESPACES
        for kind in ("kek", "seal-key")
    }
    holding = {key for key, value in etcd.contents(site.cluster.api) if found(needles, value)}
    assert holding == own
    wrapped = [form for key in await wrapped_keys(site, "custody") for form in forms(key)]
    directory = site.cluster.directory
    on_disk = [directory / name for name in ("volumes", "pods", "log")]
    holders = [str(path) for path, content in files(*on_disk) if found(wrapped, content)]
    for part in ("/VAULTSTREAM_KEYS/", "/pg_wal/"):
        assert any(part in holder for holder in holders), (part, holders)

    assert any(b"VAULTSTREAM_KEK_FILE" in text for _, text in told)
    assert [place for place, text in told if found(needles, text)] == []
    assert [path for path, content in files(*on_disk) if found(needles, content)] == []
    await site.hurry("custody")
    await suspend(site, "custody", False)
    await site.completes("custody")
    assert [path for path, content in files(*on_disk) if found(needles, content)] == []
    assert {key for key, value in etcd.contents(site.cluster.api) if found(needles, value)} == own


async def suspend(site: Site, name: str, suspended: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspended}})
    await site.kubectl("patch", "sj", name, "--type=merge", "-p", patch)


async def test_a_key_encryption_key_is_rotated_while_a_job_runs(site: Site, tmp_path: Path) -> None:
    """Follows docs/keys-and-custody.md."""
    await site.slow_view("rotated", ROTATED_RECORDS)
    await site.apply("rotated", keys=KEYS)
    await site.has_signed("rotated", 1)
    file = tmp_path / "kek"
    file.write_text(await site.secret(f"{NAME}-kek", "kek"))
    file.chmod(0o600)
    before = load_keyring(file)
    async with site.database() as db:
        job = await get_job(db, (await site.status("rotated"))["token"])
        done = await rewrap_job(db, job, file, rotate=True, prune=False)
    assert (done.keys, done.kek_id in before.ids) == (12, False)
    secret = (
        "create",
        "secret",
        "generic",
        f"{NAME}-kek",
        f"--from-file={file}",
        "--dry-run=client",
        "-oyaml",
    )
    manifest = (await site.kubectl(*secret)).stdout
    await site.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    assert (await site.status("rotated"))["signed"] < ROTATED_RECORDS, "the job is still running"

    signers = await site.pods(component="signing", job="rotated")
    for pod in signers:  # their replacements have to unwrap all keys again
        await site.delete_pod(pod["metadata"]["name"])
    await site.hurry("rotated")
    await site.completes("rotated")
    assert (await site.verify("rotated"))["valid"] == ROTATED_RECORDS
    found_secret = await site.get(f"/api/v1/namespaces/{HOME}/secrets/{NAME}-kek")
    assert found_secret is not None
    assert found_secret["metadata"]["labels"]["app.kubernetes.io/instance"] == NAME


async def test_a_revoked_key_stays_revoked_after_a_restore_if_its_namespace_has_the_file(
    site: Site, tmp_path: Path
) -> None:
    """Follows docs/keys-and-custody.md: the database is as after a restore, the ConfigMap has the newest file."""
    await site.slow_view("revived", ROTATED_RECORDS)
    await site.apply("revived", keys=KEYS)
    await site.has_signed("revived", 1)
    await suspend(site, "revived", True)
    of_job = ("--selector", "vaultstream.dev/job=revived")
    await site.kubectl(
        "wait", "pods", "--for", "delete", "--timeout", "2m", *of_job
    )  # draining signers commit
    async with site.database() as db:
        job = await get_job(db, (await site.status("revived"))["token"])
        revoked = next(key for key in await list_keys(db, job.job_no) if key.batches)
        before = revoked.batches
        now = await db.fetchval("SELECT clock_timestamp()")
    file = tmp_path / "revocations"
    add_revocations(file, [Revocation.of(revoked.key_id, revoked.public_key, at=now)])
    config_map = ("create", "configmap", f"{NAME}-revocations", f"--from-file={file}")
    await site.kubectl(*config_map)
    try:
        await site.hurry("revived")
        await suspend(site, "revived", False)
        await site.completes("revived")
        async with site.database() as db:
            [again] = [key for key in await list_keys(db, job.job_no) if key.key_id == revoked.key_id]
        assert (again.state, again.batches) == ("revoked", before)
        assert (await site.verify("revived"))["valid"] == ROTATED_RECORDS
    finally:
        await site.kubectl("delete", "configmap", f"{NAME}-revocations")


async def test_helms_release_records_contain_no_key_that_a_hook_created(site: Site) -> None:
    listed = await site.client.call("GET", f"/api/v1/namespaces/{HOME}/secrets?labelSelector=owner%3Dhelm")
    records = {
        item["metadata"]["name"]: gzip.decompress(base64.b64decode(base64.b64decode(item["data"]["release"])))
        for item in listed["items"]
    }
    # The search works: it finds rendered values, such as the passwords of bundled services.
    rendered = (await site.secret(f"{NAME}-credentials", "postgres.owner")).encode()
    assert records
    assert all(found(list(forms(rendered)), record) for record in records.values())

    keys = [*await key_encryption_keys(site), *await seal_keys(site)]
    needles = [form for key in keys for form in forms(key)]
    assert [name for name, record in records.items() if found(needles, record)] == []


async def test_the_hook_that_creates_the_keys_leaves_no_object_behind(site: Site) -> None:
    paths = [
        f"/apis/{kind}"
        for namespace in NAMESPACES
        for kind in (
            f"batch/v1/namespaces/{namespace}/jobs",
            f"rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
            f"rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
            f"networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
        )
    ]
    paths.append(f"/api/v1/namespaces/{HOME}/serviceaccounts")
    assert [path for path in paths if await site.get(f"{path}/{NAME}-kek")] == []
