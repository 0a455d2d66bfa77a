from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.store.holder import APPLICATION, HOST_CHARACTERS, Holder, SessionName

pytestmark = pytest.mark.unit

HOSTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
PIDS = st.integers(1, 2**22)
NONCES = st.text("0123456789abcdef", min_size=1, max_size=8)
ROLES = st.sampled_from(["keys", "records", "signing"])
JOBS = st.integers(1, 2**31 - 1)


@given(st.builds(Holder, HOSTS, PIDS, NONCES))
def test_a_holder_is_read_as_it_was_written(holder: Holder) -> None:
    assert Holder.parse(str(holder)) == holder


@given(st.builds(SessionName, ROLES, JOBS, HOSTS.map(lambda host: host[:HOST_CHARACTERS]), PIDS))
def test_a_session_is_read_as_it_was_written_and_fits_into_its_column(session: SessionName) -> None:
    application_name = f"{APPLICATION}{session}"

    assert SessionName.parse(application_name) == session
    assert len(application_name.encode()) <= 63


@given(HOSTS, PIDS, NONCES)
def test_a_session_knows_the_leases_of_its_process(host: str, pid: int, nonce: str) -> None:
    session = SessionName("signing", 1, host[:HOST_CHARACTERS], pid)

    assert session.is_holder(str(Holder(host, pid, nonce)))
    assert not session.is_holder(str(Holder(host, pid + 1, nonce)))
    assert not session.is_holder(str(Holder(f"x{host}", pid, nonce))) or host.startswith("x")


@pytest.mark.parametrize("text", ["", "host", "host:12", "host:12:", "host:twelve:ab", "::"])
def test_what_is_no_holder(text: str) -> None:
    assert Holder.parse(text) is None
    assert not SessionName("signing", 1, "host", 12).is_holder(text)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "psql",
        "vaultstream-operator",
        "vaultstream-signing",
        "vaultstream-audit 1 host:12",
        "signing 1 host:12",
    ],
)
def test_what_is_no_worker(name: str) -> None:
    assert SessionName.parse(name) is None


def test_names_of_this_process() -> None:
    holders = {str(Holder.of_this_process()) for _ in range(2)}
    session = SessionName.of_this_process("signing", 7)

    assert len(holders) == 2
    assert all(session.is_holder(holder) for holder in holders)
    assert (session.role, session.job_no, session.pid) == ("signing", 7, os.getpid())
