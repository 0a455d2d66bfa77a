from __future__ import annotations

from uuid import UUID

import pytest

from vaultstream.audit.checks.queries import RecordId, parse_record_id
from vaultstream.errors import UsageError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "id_type", "record"),
    [
        ("42", "bigint", 42),
        ("-9223372036854775808", "bigint", -(2**63)),
        ("9223372036854775807", "bigint", 2**63 - 1),
        ("6F9619FF-8B86-D011-B42D-00C04FC964FF", "uuid", UUID("6f9619ff-8b86-d011-b42d-00c04fc964ff")),
        ("東京", "text", "東京"),
        ("", "text", ""),
    ],
)
def test_an_id_is_read_as_the_jobs_type(text: str, id_type: str, record: RecordId) -> None:
    assert parse_record_id(text, id_type) == record


@pytest.mark.parametrize(
    ("text", "id_type"),
    [("x", "bigint"), ("1.5", "bigint"), ("9223372036854775808", "bigint"), ("42", "uuid"), ("a\0b", "text")],
)
def test_a_value_that_can_not_be_an_id_of_the_job_is_refused(text: str, id_type: str) -> None:
    with pytest.raises(UsageError, match=id_type):
        parse_record_id(text, id_type)
