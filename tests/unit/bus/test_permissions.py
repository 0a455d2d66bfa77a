"""What stands in the permissions, and how the chart gets them."""

from __future__ import annotations

import json

import pytest

import nats_permissions
from vaultstream.bus.permissions import BusRole, inbox_prefix, permissions
from vaultstream.bus.refusals import explain_refusal

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
