from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import generate_private_key, public_key_pem, public_key_to_bytes
from vaultstream.errors import CustodyError
from vaultstream.store.keys import KeyInfo
from vaultstream_cli.key_export import KeyFormat, render_keys, trusted

pytestmark = pytest.mark.unit

ENDED = datetime(2026, 3, 1, tzinfo=UTC)


def key(algorithm: Algorithm, state: str) -> KeyInfo:
    return KeyInfo(
        key_no=1,
        ordinal=1,
        key_id=f"k-{algorithm}",
        algorithm=algorithm,
        public_key=public_key_to_bytes(generate_private_key(algorithm)),
        state=state,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        ended_at=ENDED if state != "active" else None,
        epoch=0,
        holder=None,
        lease_until=None,
        batches=0,
        last_used_at=None,
    )


@pytest.mark.parametrize("form", list(KeyFormat))
def test_an_error_about_a_key_of_a_set_names_it(form: KeyFormat) -> None:
    keys = [
        key(Algorithm.ED25519, "active"),
        replace(key(Algorithm.ED25519, "active"), key_id="evil", public_key=b"\0"),
    ]
    with pytest.raises(CustodyError, match="Key evil: The bytes"):
        render_keys(keys, form)


def test_a_key_set_names_each_key_and_its_state() -> None:
    keys = [key(Algorithm.ECDSA_P256_SHA256, "active"), key(Algorithm.ED25519, "revoked")]

    rendered = json.loads(render_keys(keys, KeyFormat.JWKS))["keys"]

    assert [(k["kid"], k["alg"], k["state"]) for k in rendered] == [
        ("k-ECDSA_P256_SHA256", "ES256", "active"),
        ("k-ED25519", "EdDSA", "revoked"),
    ]


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_key_of_a_set_says_what_it_is_for_and_whether_it_was_revoked(algorithm: Algorithm) -> None:
    keys = [key(algorithm, state) for state in ("active", "retired", "revoked")]

    rendered = json.loads(render_keys(keys, KeyFormat.JWKS))["keys"]

    for jwk in rendered:
        assert (jwk["use"], jwk["key_ops"]) == ("sig", ["verify"])
    assert [jwk.get("revoked") for jwk in rendered] == [None, None, {"revoked_at": int(ENDED.timestamp())}]
    assert [k.state for k in trusted(keys)] == ["active", "retired"]


def test_each_pem_block_follows_a_comment_with_its_key() -> None:
    one = key(Algorithm.ED25519, "retired")

    assert (
        render_keys([one], KeyFormat.PEM)
        == f"# k-ED25519 (ED25519, retired)\n{public_key_pem(one.public_key)}"
    )


def test_no_keys_are_an_empty_key_set() -> None:
    assert json.loads(render_keys([], KeyFormat.JWKS)) == {"keys": []}
    assert render_keys([], KeyFormat.PEM) == ""
