"""No private key and no key-encryption key lies or travels in clear: not on disk, not in a log, not in a process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support.as_user import connect
from support.local_services import local_services
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import private_key_from_bytes
from vaultstream.crypto.envelope import unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.local.services import inspect_services
from vaultstream.store.jobs import get_job
from vaultstream.store.keys import list_wrapped

if TYPE_CHECKING:
    from support.command import Command
    from vaultstream.crypto.algorithms import PrivateKey

pytestmark = pytest.mark.integration

GAP = re.compile(rb"\0{32,}")
"""Nothing, as most of a database's log and of its pages is: no secret."""


def secret_numbers(key: PrivateKey) -> list[bytes]:
    """What makes a private key private, as bytes, apart from any container."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return [key.private_numbers().private_value.to_bytes(32, "big")]
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        return [
            value.to_bytes((value.bit_length() + 7) // 8, "big")
            for value in (numbers.d, numbers.p, numbers.q)
        ]
    return [key.private_bytes_raw()]


def encodings(secret: bytes) -> set[bytes]:
    """A secret as it would look in a file: raw, in hex, and in Base64 at each alignment, in either alphabet."""
    found = {secret, secret[::-1], secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * shift + secret)
            found.add(text[4 if shift else 0 : len(text) // 4 * 4 - 4])
    # as in an array of numbers, of a JSON document or of a Python repr
    found.add(", ".join(map(str, secret[:16])).encode())
    found.add(repr(secret)[2:-1].encode())
    return {each for each in found if len(each) >= 16}


def encodings_of_key(key: PrivateKey) -> set[bytes]:
    found: set[bytes] = set()
    for number in secret_numbers(key):
        found |= encodings(number)
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found |= encodings(pkcs8)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    found |= {line for line in pem.splitlines()[1:-1] if len(line) >= 40}
    return found


def processes_text(command: Command) -> bytes:
    """Environments and arguments of every process that has to do with this folder."""
    text = b""
    for process in psutil.process_iter():
        for name in ("environ", "cmdline"):
            try:
                part = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:
                continue
            text += part
    assert str(command.folder).encode() in text
    return text


async def needles(command: Command, jobs: list[str]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    async with local_services(command.data_dir) as services, connect(services.database_url) as connection:
        ring = load_keyring(services.kek_file)
        for name in jobs:
            for wrapped in await list_wrapped(connection, await get_job(connection, name)):
                key = private_key_from_bytes(unwrap(ring, wrapped))
                found |= dict.fromkeys(encodings_of_key(key), f"key {wrapped.key_id}")
        for kek in ring.keks:
            found |= dict.fromkeys(encodings(kek.secret), f"key-encryption key {kek.kek_id}")
    return found


def leaks(data: bytes, sought: dict[bytes, str]) -> set[str]:
    return {whose for needle, whose in sought.items() if needle in data}


@pytest.mark.long
async def test_no_private_key_is_found_anywhere_in_any_encoding(command: Command) -> None:
    processes = b""
    told = ""
    async with local_services(command.data_dir):  # started once for all runs, which join
        for algorithm in Algorithm:
            manifest = command.manifest(
                algorithm.lower().replace("_", "-"),
                records={"table": "quickstart_400"},
                batchSize=20,
                keys={"count": 2, "algorithm": algorithm},
            )
            if algorithm is Algorithm.ECDSA_P256_SHA256:
                command.run("quick-start", "--records", "400", "--keys", "2", VAULTSTREAM_LOG_LEVEL="debug")
            run = command.start("run", "-f", manifest, VAULTSTREAM_LOG_LEVEL="debug")
            while run.poll() is None:
                if inspect_services(command.data_dir).postgres:
                    processes += processes_text(command)
                await asyncio.sleep(0.2)
            out, err = run.communicate()
            assert run.returncode == 0, err
            told += out + err
    jobs = [algorithm.lower().replace("_", "-") for algorithm in Algorithm]
    sought = await needles(command, jobs)
    assert len(sought) > 100

    # the search finds what is there: the key-encryption key in its own file
    kek_file = command.data_dir / "kek"
    assert leaks(kek_file.read_bytes(), sought)

    assert not leaks(processes, sought)
    assert not leaks(told.encode(), sought)
    searched = []
    seen = set()  # Postgres keeps three copies of its catalog
    for path in command.data_dir.rglob("*"):
        if path.is_file() and path != kek_file:
            data = GAP.sub(b"\0", path.read_bytes())
            searched.append(path)
            if (digest := hashlib.sha256(data).digest()) not in seen:
                seen.add(digest)
                assert not leaks(data, sought), path
    kinds = {path.relative_to(command.data_dir).parts[0] for path in searched}
    assert {"postgres", "nats", "logs", "postgres.log", "nats.log"} <= kinds


def test_secret_files_are_for_their_owner_alone(command: Command) -> None:
    command.run("quick-start", "--records", "10", "--keys", "1")
    assert (command.data_dir / "kek").stat().st_mode & 0o777 == 0o600
    for log in (command.data_dir / "logs").rglob("*.log"):
        assert log.stat().st_mode & 0o077 == 0
    assert (
        json.loads((command.data_dir / "logs").rglob("keys-1.log").__next__().read_text().splitlines()[0])[
            "level"
        ]
        == "INFO"
    )
