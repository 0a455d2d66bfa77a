"""`export --signature-format`: what other libraries of cryptography take as it stands."""

from __future__ import annotations

import csv
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pyarrow import parquet

from integration.audit.signed_job import payload_of
from support.node import run_node
from vaultstream.api import Algorithm
from vaultstream.audit.exports.export import export_job
from vaultstream.audit.exports.formats import ExportFormat, SignatureFormat, read_cell
from vaultstream.errors import AuditError
from vaultstream.store.keys import list_keys
from vaultstream_cli.key_export import KeyFormat, render_keys

if TYPE_CHECKING:
    from integration.audit.conftest import MakeJob
    from integration.audit.signed_job import SignedJob

pytestmark = pytest.mark.integration

WEB = [algorithm for algorithm in Algorithm if algorithm is not Algorithm.ML_DSA_65]
"""Node's WebCrypto has no ML-DSA before version 24."""


async def exported(
    signed: SignedJob, folder: Path, encoding: SignatureFormat, form: ExportFormat = ExportFormat.JSONL
) -> dict[str, dict[str, Any]]:
    """Returns the exported rows by record, with the signature as bytes."""
    path = folder / f"{encoding}.{form}"
    await export_job(signed.url, signed.job.token, form=form, output=path, signature_format=encoding)
    match form:
        case ExportFormat.JSONL:
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        case ExportFormat.CSV:
            with path.open(newline="") as file:
                rows = [{k: read_cell(v) for k, v in row.items()} for row in csv.DictReader(file)]
        case ExportFormat.PARQUET:
            rows = parquet.read_table(path).to_pylist()
    read = bytes if form is ExportFormat.PARQUET else b64decode
    return {str(row["record_id"]): {**row, "signature": read(row["signature"])} for row in rows}


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def key_set(signed: SignedJob) -> dict[str, Any]:
    keys = await list_keys(signed.connection, signed.job.job_no)
    return {jwk["kid"]: jwk for jwk in json.loads(render_keys(keys, KeyFormat.JWKS))["keys"]}


@pytest.mark.parametrize("form", list(ExportFormat))
async def test_a_raw_ecdsa_signature_is_r_and_s_of_the_stored_one(
    make: MakeJob, tmp_path: Path, form: ExportFormat
) -> None:
    signed = await make()
    public = {
        row["key_id"]: load_der_public_key(row["public_key"])
        for row in await signed.connection.fetch("SELECT key_id, public_key FROM vaultstream.keys")
    }
    stored = await exported(signed, tmp_path, SignatureFormat.DER, form)
    raw = await exported(signed, tmp_path, SignatureFormat.RAW, form)
    assert len(raw) == 12
    for record, row in raw.items():
        assert len(row["signature"]) == 64
        r, s = (int.from_bytes(half, "big") for half in (row["signature"][:32], row["signature"][32:]))
        assert encode_dss_signature(r, s) == stored[record]["signature"]
        key = public[row["key_id"]]
        assert isinstance(key, EllipticCurvePublicKey)
        key.verify(encode_dss_signature(r, s), payload_of(record).encode(), ECDSA(SHA256()))
        with pytest.raises(InvalidSignature):
            key.verify(encode_dss_signature(s, r), payload_of(record).encode(), ECDSA(SHA256()))


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a is not Algorithm.ECDSA_P256_SHA256])
async def test_signatures_of_the_other_algorithms_are_the_same_in_both(
    make: MakeJob, tmp_path: Path, algorithm: Algorithm
) -> None:
    signed = await make(algorithm=algorithm)
    stored = await exported(signed, tmp_path, SignatureFormat.DER)
    assert await exported(signed, tmp_path, SignatureFormat.RAW) == stored


@pytest.mark.parametrize("algorithm", WEB)
async def test_webcrypto_verifies_raw_signatures_with_the_exported_key_set(
    make: MakeJob, tmp_path: Path, algorithm: Algorithm
) -> None:
    signed = await make(algorithm=algorithm)
    keys = await key_set(signed)
    rows = await exported(signed, tmp_path, SignatureFormat.RAW)
    checks = [
        {
            "jwk": keys[row["key_id"]],
            "signature": b64encode(row["signature"]).decode(),
            "payload": b64encode(payload.encode()).decode(),
        }
        for record, row in rows.items()
        for payload in (payload_of(record), payload_of(record) + " ")
    ]
    assert run_node("webcrypto.mjs", checks) == [True, False] * 12


async def test_webcrypto_takes_no_der(make: MakeJob, tmp_path: Path) -> None:
    """What the option is for: without it, each of these signatures would look wrong."""
    signed = await make()
    keys = await key_set(signed)
    checks = [
        {
            "jwk": keys[row["key_id"]],
            "signature": b64encode(row["signature"]).decode(),
            "payload": b64encode(payload_of(record).encode()).decode(),
        }
        for record, row in (await exported(signed, tmp_path, SignatureFormat.DER)).items()
    ]
    assert run_node("webcrypto.mjs", checks) == [False] * 12


@pytest.mark.parametrize("signature", [b"", b"no DER", bytes.fromhex("3006020101020180")])
async def test_a_signature_that_was_overwritten_is_named_and_no_file_is_written(
    make: MakeJob, tmp_path: Path, signature: bytes
) -> None:
    signed = await make()
    await signed.execute("UPDATE {s} SET signature = $1 WHERE record_id = 5", signature)
    with pytest.raises(AuditError, match="record '5'"):
        await exported(signed, tmp_path, SignatureFormat.RAW)
    assert files(tmp_path) == []
    assert len(await exported(signed, tmp_path, SignatureFormat.DER)) == 12
