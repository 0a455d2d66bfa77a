"""An Event's name is derived from its message, and its message is not too long."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vaultstream_operator.adapters.events import MOST_NOTE_BYTES, event, event_name
from vaultstream_operator.api.reasons import JobReason, Statement
from vaultstream_operator.core.children import Owner

pytestmark = pytest.mark.unit

OWNER = Owner("ns", "job", "u1")
SAID = Statement(JobReason.STARTING, "It starts.", "Normal")


def test_the_same_message_has_the_same_name() -> None:
    assert event_name(OWNER, SAID) == event_name(OWNER, Statement(JobReason.STARTING, "It starts.", "Normal"))


@pytest.mark.parametrize(
    ("owner", "statement"),
    [
        (Owner("ns", "job", "u2"), SAID),
        (OWNER, Statement(JobReason.STARTING, "It starts again.", "Normal")),
        (OWNER, Statement(JobReason.RESUMED, "It starts.", "Normal")),
    ],
)
def test_another_message_or_object_has_another_name(owner: Owner, statement: Statement) -> None:
    assert event_name(owner, statement) != event_name(OWNER, SAID)


def test_the_longest_name_of_a_job_gives_a_name_that_kubernetes_accepts() -> None:
    name = event_name(Owner("ns", "a" * 199 + ".b" * 27, "u1"), SAID)
    assert len(name) <= 253
    assert ".." not in name


def test_a_long_message_is_cut_to_the_limit_of_an_event() -> None:
    said = Statement(JobReason.STARTING, "é" * 2000, "Normal")
    note = event("name", OWNER, said, datetime.now(UTC))["note"]
    assert len(note.encode()) <= MOST_NOTE_BYTES
    assert note.endswith("é…")
