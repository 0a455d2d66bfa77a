"""A SigningJob's settings for its signers' pods: validated, then kept as given."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import ValidationError

from vaultstream.api import SignerSpec
from vaultstream.api.pods import amount

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("quantity", "number"),
    [
        (2, "2"),
        ("500m", "0.5"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("1n", "1e-9"),
        ("3u", "3e-6"),
        ("1k", "1e3"),
        ("1E", "1e18"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("5e-1", "0.5"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("1Ei", str(2**60)),
    ],
)
def test_a_quantity_has_the_same_value_as_in_kubernetes(quantity: int | str, number: str) -> None:
    assert amount(quantity) == Decimal(number)


@pytest.mark.parametrize(
    ("request_", "limit", "fits"),
    [
        ("1Gi", "1Gi", True),
        ("1024Mi", "1Gi", True),
        ("1Gi", "1G", False),
        ("1500m", 1, False),
        (1, "1e0", True),
    ],
)
def test_requests_are_compared_with_limits_by_their_amounts(
    request_: int | str, limit: int | str, fits: bool
) -> None:
    resources = {"requests": {"memory": request_, "cpu": 9}, "limits": {"memory": limit}}
    if fits:
        assert SignerSpec.model_validate({"resources": resources}).resources == resources
    else:
        with pytest.raises(ValidationError, match="requests must not exceed the limits"):
            SignerSpec.model_validate({"resources": resources})


def test_validated_pod_settings_are_kept_as_json_without_unset_fields() -> None:
    given = {
        "resources": {"limits": {"cpu": 1, "example.com/gpu": "2"}},
        "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}],
    }
    signer = SignerSpec.model_validate(given)
    assert signer.resources == given["resources"]
    assert list(signer.tolerations) == given["tolerations"]
    assert SignerSpec.model_validate(signer.model_dump(mode="json", by_alias=True)) == signer


def test_an_invalid_name_of_any_length_is_refused_quickly() -> None:
    for name in ("a" * 500_000, "a." * 250_000, "-" * 500_000, "a/" * 250_000):
        with pytest.raises(ValidationError, match="podLabels has an invalid key"):
            SignerSpec.model_validate({"podLabels": {name: "x"}})
