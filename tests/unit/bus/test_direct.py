"""What is published is in the protocol of NATS as nats-py writes it."""

from __future__ import annotations

import pytest
from nats.js.api import Header

from vaultstream.bus.direct import Outgoing, _command

pytestmark = pytest.mark.unit


def test_a_header_has_the_name_of_its_member_of_the_enumeration() -> None:
    sent = _command(Outgoing("records.job.7", b"", {Header.MSG_ID: "job.7."}), b"_INBOX.1")
    assert sent == b"HPUB records.job.7 _INBOX.1 33 33\r\nNATS/1.0\r\nNats-Msg-Id: job.7.\r\n\r\n\r\n"


def test_sizes_count_headers_and_payload() -> None:
    assert (
        _command(Outgoing("a", b"12345", {"n": "v"}), b"r")
        == b"HPUB a r 18 23\r\nNATS/1.0\r\nn: v\r\n\r\n12345\r\n"
    )
    assert _command(Outgoing("a", b"12345", None), b"r") == b"PUB a r 5\r\n12345\r\n"
