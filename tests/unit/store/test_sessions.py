from __future__ import annotations

import pytest

from vaultstream.store.sessions import WorkerSession

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("holder", "same"),
    [
        ("host:12:abcd", True),
        ("host:121:abcd", False),
        ("other:12:abcd", False),
        ("host", False),
        ("", False),
    ],
)
def test_a_holder_is_known_by_host_and_process(holder: str, same: bool) -> None:
    assert WorkerSession("signing", 1, "host", 12, 4).is_holder(holder) is same


def test_a_long_host_is_known_by_its_first_letters() -> None:
    session = WorkerSession("signing", 1, "a" * 24, 12, 4)

    assert session.is_holder(f"{'a' * 40}:12:abcd")
