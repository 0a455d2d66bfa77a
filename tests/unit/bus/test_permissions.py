"""What stands in the permissions, and how the chart gets them."""

from __future__ import annotations

import json

import pytest

import nats_permissions
import nats_tenants
from vaultstream.bus.permissions import BusRole, inbox_prefix, permissions
from vaultstream.bus.refusals import explain_refusal
from vaultstream.bus.tenants import OPERATORS_ACCOUNT, account_config, imports_config

pytestmark = pytest.mark.unit


def test_each_role_stands_in_the_chart_s_file_as_nats_server_reads_it() -> None:
    written = json.loads(nats_permissions.as_json())
    assert set(written) == set(BusRole)
    for role, rules in written.items():
        assert set(rules) == {"publish", "subscribe"}
        assert rules["publish"]["allow"]
        assert rules["subscribe"]["allow"] == [f"_INBOX_{role}.>"]


def test_no_role_may_do_everything_or_all_of_jetstream() -> None:
    for role in BusRole:
        for subject in permissions(role).publish:
            assert not subject.startswith((">", "*", "$JS.>", "$JS.API.>", "$SYS"))
            assert "DELETE.VAULTSTREAM_KEYS" not in subject


@pytest.mark.parametrize("role", [*BusRole])
def test_each_role_is_answered_on_an_inbox_of_its_own(role: BusRole) -> None:
    assert inbox_prefix(role) == f"_INBOX_{role}"


def test_only_the_operator_and_the_auditor_reach_the_tenants() -> None:
    reach = {
        role
        for role in BusRole
        if any(subject.startswith("tenants.") for subject in permissions(role).publish)
    }
    assert reach == {BusRole.OPERATOR, BusRole.AUDITOR}


def test_a_tenant_exports_what_the_operators_account_imports_and_no_way_to_its_messages() -> None:
    exported = [each["service"] for each in account_config()["exports"]]
    assert exported == [each["service"]["subject"] for each in imports_config("shop")]
    assert all(each["accounts"] == [OPERATORS_ACCOUNT] for each in account_config()["exports"])
    assert not [s for s in exported if "MSG" in s or "CREATE" in s or "UPDATE" in s or "STREAM.DELETE" in s]
    assert exported == [each["service"]["subject"] for each in imports_config(None)]
    for each in imports_config("shop"):
        assert each["service"]["account"] == "tenant-shop"
        assert each["to"].startswith("tenants.shop.JS.API.")


def test_the_charts_file_has_the_place_of_the_tenant() -> None:
    parts = json.loads(nats_tenants.as_json().replace(nats_tenants.PLACEHOLDER, "shop"))
    assert (parts["account"], parts["imports"]) == ("tenant-shop", imports_config("shop"))
    assert parts["users"] == {"keys": "keys-shop", "records": "records-shop", "signing": "signing-shop"}


def test_a_user_without_a_role_has_the_default_inbox() -> None:
    assert inbox_prefix("command") == "_INBOX"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'nats: permissions violation for publish to "records.a-job.17"',
            "publish to records.a-job.17.",
        ),
        (
            'nats: permissions violation for publish to "$js.api.consumer.info.vaultstream_records.a-job"',
            "publish to $JS.API.CONSUMER.INFO.VAULTSTREAM_RECORDS.a-job.",
        ),
        (
            'nats: permissions violation for publish to "$js.api.stream.create.vaultstream_keys"',
            "publish to $JS.API.STREAM.CREATE.VAULTSTREAM_KEYS.",
        ),
        (
            'nats: permissions violation for publish to "tenants.shop.js.api.consumer.info.vaultstream_records.a-job"',
            "publish to tenants.shop.JS.API.CONSUMER.INFO.VAULTSTREAM_RECORDS.a-job.",
        ),
        (
            'nats: permissions violation for publish to "tenants.shop.js.api.info"',
            "publish to tenants.shop.JS.API.INFO.",
        ),
        (
            'nats: permissions violation for subscription to "_inbox_keys.abc.*"',
            "subscribe to _INBOX_keys.abc.*.",
        ),
    ],
)
def test_a_refusal_names_user_and_subject_as_they_are_configured(said: str, told: str) -> None:
    refusal = explain_refusal("keys", Exception(said))
    assert refusal is not None
    assert refusal.message == f"The NATS user 'keys' may not {told}"
    assert "docs/security.md" in (refusal.hint or "")


@pytest.mark.parametrize("said", ["nats: timeout", "nats: 'authorization violation'", ""])
def test_another_error_is_not_a_refusal(said: str) -> None:
    assert explain_refusal("keys", Exception(said)) is None
