from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultstream.audit.checks.pinned_keys import PinnedKeys
from vaultstream.errors import UsageError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no JWK set"),
        ('{"keys": {}}', "no JWK set"),
        ('{"keys": [1]}', "no JWK set"),
        ('{"keys": [{"kty": "EC"}]}', "has no id"),
        ('{"keys": [{"kid": 1}]}', "has no id"),
        ('{"keys": [{"kid": "a"}, {"kid": "a"}]}', "two keys have the id 'a'"),
    ],
)
def test_what_is_no_set_of_keys_with_ids_is_refused(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.jwks"
    path.write_text(text)
    with pytest.raises(UsageError, match=why):
        PinnedKeys.read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        PinnedKeys.read(tmp_path / "none")


def test_only_the_public_half_is_compared() -> None:
    jwk = {"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": "AA", "use": "sig", "state": "free"}
    pinned = PinnedKeys.parse(json.dumps({"keys": [jwk]}).encode())
    assert pinned.keys["a"].public == {"kty": "OKP", "crv": "Ed25519", "x": "AA"}
    assert not pinned.keys["a"].revoked
