"""A payload that is the signing input of a token: what a signature over it is worth elsewhere, and how a job refuses it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from vaultstream.crypto.raw_ecdsa import raw_ecdsa
from vaultstream.store.keys import list_keys
from vaultstream_cli.key_export import KeyFormat, render_keys

if TYPE_CHECKING:
    from support.lab import Lab
    from vaultstream.store.jobs import Job

pytestmark = pytest.mark.integration

ADMIN = {"sub": "admin", "aud": "payments"}
TOKENS = (7, 8)


def part(document: dict[str, Any]) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


async def with_tokens(lab: Lab) -> None:
    """Overwrites two payloads with the signing input of a token."""
    token = f"{part({'alg': 'ES256', 'typ': 'JWT'})}.{part(ADMIN)}"
    await lab.execute("UPDATE records SET payload = $1 WHERE id = ANY ($2)", token, TOKENS)


async def key_set(lab: Lab, job: Job) -> jwt.PyJWKSet:
    async with lab.pool.acquire() as connection:
        keys = await list_keys(connection, job.job_no)
    return jwt.PyJWKSet.from_json(render_keys(keys, KeyFormat.JWKS))


async def test_a_signature_over_a_tokens_input_is_a_valid_token_under_the_exported_keys(lab: Lab) -> None:
    """This is why the documents say what the keys are for: Raw signs any bytes, so a table's owner chooses the token."""
    await lab.table((n, f"record {n}") for n in range(1, 31))
    job = await lab.open()
    await with_tokens(lab)
    ended = await lab.finish(job)
    assert await lab.dead(ended.job) == {}
    keys = {key.key_id: key for key in (await key_set(lab, job)).keys}
    for record in TOKENS:
        [(payload, signature, key_id)] = await lab.rows(
            "SELECT r.payload, s.signature, s.key_id FROM records r JOIN vaultstream.signatures s ON s.record_id = r.id::text "
            "WHERE r.id = $1 AND s.token = $2",
            record,
            job.token,
        )
        token = f"{payload}.{urlsafe_b64encode(raw_ecdsa(signature)).rstrip(b'=').decode()}"
        assert jwt.decode(token, keys[key_id], algorithms=["ES256"], audience="payments") == ADMIN


async def test_a_job_that_refuses_tokens_signs_all_else_and_gives_the_reason(lab: Lab) -> None:
    await lab.table((n, f"record {n}.") for n in range(1, 31))
    job = await lab.open(signature={"refuseTokens": True})
    await with_tokens(lab)
    ended = await lab.finish(job)
    assert await lab.dead(ended.job) == {str(record): "PayloadIsToken" for record in TOKENS}
    assert await lab.signed_ids(ended.job) == set(range(1, 31)) - set(TOKENS)
    report = await lab.verify(ended.job)
    assert (report.ok, report.signed, report.dead) == (True, 28, 2)
