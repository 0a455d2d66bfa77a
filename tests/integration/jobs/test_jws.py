"""Jobs that sign JWS: what is under a signature, and who else can check it."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode, urlsafe_b64decode
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key
from joserfc import jws as jose
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from pyarrow import parquet

from support.node import run_node
from vaultstream.api import Algorithm
from vaultstream.audit.exports.export import export_job
from vaultstream.audit.exports.extract import extract_record
from vaultstream.audit.exports.formats import ExportFormat
from vaultstream.crypto.algorithms import JWS_ALG
from vaultstream.proof.jws import JOB_HEADER, JWS_TYPE, RECORD_HEADER
from vaultstream.store.keys import list_keys
from vaultstream_cli.key_export import KeyFormat, render_keys

if TYPE_CHECKING:
    from pathlib import Path

    from support.lab import Lab
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

ALG = {
    Algorithm.ECDSA_P256_SHA256: "ES256",
    Algorithm.ED25519: "EdDSA",
    Algorithm.RSA_PSS_3072_SHA256: "PS256",
    Algorithm.ML_DSA_65: "ML-DSA-65",
}
REGISTRY = jose.JWSRegistry(algorithms=list(ALG.values()), strict_check_header=False)
IDS = ("a", "ß", 'quo"te', "東京", "new\nline", "\U0001f512")


def payload_of(record: str) -> str:
    return f"receipt of {record}"


async def signed_job(lab: Lab, algorithm: Algorithm) -> Job:
    await lab.table([(record, payload_of(record)) for record in IDS], id_type="text")
    job = await lab.open(
        batchSize=2, keys={"count": 2, "algorithm": str(algorithm)}, signature={"format": "JWS"}
    )
    return (await lab.finish(job)).job


async def key_set(lab: Lab, job: Job) -> dict[str, Any]:
    async with lab.pool.acquire() as connection:
        keys = await list_keys(connection, job.job_no)
    return json.loads(render_keys(keys, KeyFormat.JWKS))


async def exported(lab: Lab, job: Job, folder: Path, form: ExportFormat = ExportFormat.JSONL) -> Path:
    path = folder / f"export.{form}"
    await export_job(lab.services.database_url, job.token, form=form, output=path)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_text(path: Path) -> str:
    return path.read_text()


def header_of(jws: str) -> dict[str, str]:
    encoded = jws.split(".", maxsplit=1)[0]
    return json.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a is not Algorithm.ML_DSA_65])
async def test_joserfc_and_node_verify_what_is_exported_and_the_header_names_key_job_and_record(
    lab: Lab, tmp_path: Path, algorithm: Algorithm
) -> None:
    job = await signed_job(lab, algorithm)
    report = await lab.verify(job)
    assert (report.ok, report.valid) == (True, len(IDS))
    keys = await key_set(lab, job)
    trusted = KeySet.import_key_set(keys)
    rows = lines(await exported(lab, job, tmp_path))
    assert {row["record_id"] for row in rows} == set(IDS)
    by_id = {jwk["kid"]: jwk for jwk in keys["keys"]}
    checks = []
    for row in rows:
        payload = payload_of(row["record_id"]).encode()
        expected = {
            "alg": ALG[algorithm],
            "kid": row["key_id"],
            "typ": JWS_TYPE,
            JOB_HEADER: job.token,
            RECORD_HEADER: row["record_id"],
        }
        found = jose.deserialize_compact(row["jws"], trusted, payload=payload, registry=REGISTRY)
        assert (found.headers(), found.payload) == (expected, payload)
        with pytest.raises(BadSignatureError):
            jose.deserialize_compact(row["jws"], trusted, payload=payload + b"!", registry=REGISTRY)
        jwk = by_id[row["key_id"]]
        checks.append({"jwk": jwk, "jws": row["jws"], "payload": b64encode(payload).decode()})
        checks.append({"jwk": jwk, "jws": row["jws"], "payload": b64encode(payload + b"!").decode()})
    seen = run_node("jws.mjs", checks)
    assert seen[::2] == [header_of(row["jws"]) for row in rows]
    assert set(map(json.dumps, seen[1::2])) == {"null"}


async def test_ml_dsa_signs_jws_under_its_registered_name(lab: Lab, tmp_path: Path) -> None:
    job = await signed_job(lab, Algorithm.ML_DSA_65)
    assert (await lab.verify(job)).valid == len(IDS)
    keys = dict(await lab.rows("SELECT key_id, public_key FROM vaultstream.keys"))
    for row in lines(await exported(lab, job, tmp_path)):
        header, _, signature = row["jws"].split(".")
        assert header_of(row["jws"])["alg"] == "ML-DSA-65"
        body = b64encode(payload_of(row["record_id"]).encode(), altchars=b"-_").rstrip(b"=").decode()
        key = load_der_public_key(keys[row["key_id"]])
        key.verify(urlsafe_b64decode(signature + "=="), f"{header}.{body}".encode())  # type: ignore[union-attr, call-arg]


async def test_all_forms_of_an_export_have_the_same_jws(lab: Lab, tmp_path: Path) -> None:
    job = await signed_job(lab, Algorithm.ECDSA_P256_SHA256)
    expected = {row["record_id"]: row["jws"] for row in lines(await exported(lab, job, tmp_path))}
    table = parquet.read_table(await exported(lab, job, tmp_path, ExportFormat.PARQUET))
    assert {row["record_id"]: row["jws"] for row in table.to_pylist()} == expected
    text = read_text(await exported(lab, job, tmp_path, ExportFormat.CSV))
    assert text.startswith(
        "record_id,payload_sha256,key_id,key_state,algorithm,signature,signed_at,epoch,jws\n"
    )
    assert all(f",{jws}\n" in text for jws in expected.values())


async def test_an_extract_has_the_jws_with_its_payload_and_a_command_that_checks_it(
    lab: Lab, tmp_path: Path
) -> None:
    job = await signed_job(lab, Algorithm.ECDSA_P256_SHA256)
    extract = await extract_record(lab.services.database_url, job.token, "ß", to=tmp_path)
    assert extract.problem is None
    trusted = KeySet.import_key_set(await key_set(lab, job))
    found = jose.deserialize_compact(read_text(tmp_path / "signature.jws"), trusted, registry=REGISTRY)
    assert found.payload == payload_of("ß").encode()
    assert found.headers()[RECORD_HEADER] == "ß"
    assert extract.command is not None
    ran = await run_shell(extract.command)
    assert "Verified OK" in ran


async def run_shell(command: str) -> str:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()


@pytest.mark.parametrize("algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.ED25519])
async def test_a_record_moved_to_another_id_with_its_payload_no_longer_verifies(
    lab: Lab, algorithm: Algorithm
) -> None:
    """With Raw, its signature alone would not tell: nothing of the record but its payload is under it."""
    job = await signed_job(lab, algorithm)
    await lab.execute("UPDATE records SET id = 'b' WHERE id = 'a'")
    await lab.execute(f"UPDATE {job.signatures_table} SET record_id = 'b' WHERE record_id = 'a'")
    await lab.execute("UPDATE vaultstream.batches SET ids = array_replace(ids, 'a', 'b')")
    report = await lab.verify(job)
    assert (report.ok, report.valid, report.invalid) == (False, len(IDS) - 1, 1)


async def test_a_changed_payload_is_told_from_a_bad_signature(lab: Lab) -> None:
    job = await signed_job(lab, Algorithm.ECDSA_P256_SHA256)
    await lab.execute("UPDATE records SET payload = 'another' WHERE id = 'a'")
    await lab.execute("DELETE FROM records WHERE id = 'ß'")
    report = await lab.verify(job)
    assert (report.valid, report.changed, report.invalid) == (len(IDS) - 2, 2, 0)


async def test_claims_as_a_payload_make_a_jwt_whose_type_tells_it_from_others(
    lab: Lab, tmp_path: Path
) -> None:
    """The documents ask to check `typ`: not every library does so by itself."""
    claims = {"sub": "admin"}
    await lab.table([(1, json.dumps(claims))])
    job = (await lab.run(signature={"format": "JWS"})).job
    await extract_record(lab.services.database_url, job.token, "1", to=tmp_path)
    token = read_text(tmp_path / "signature.jws")
    header = jwt.get_unverified_header(token)
    key = jwt.PyJWKSet.from_dict(await key_set(lab, job))[header["kid"]]
    assert jwt.decode(token, key, algorithms=["ES256"]) == claims
    assert header["typ"] == JWS_TYPE


def test_the_algorithms_of_a_job_all_have_a_name_in_jose() -> None:
    assert JWS_ALG == ALG
