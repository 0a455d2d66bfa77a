"""How the doctor judges what it finds, for situations that are hard to create."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vaultstream.api import Algorithm
from vaultstream.bus.inspection import StreamState
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.crypto.envelope import wrap
from vaultstream.crypto.keyring import KeyEncryptionKey, KeyRing
from vaultstream.doctor.custody import judge_ring, judge_unwrapping
from vaultstream.doctor.database import ServerHealth, judge_schema, judge_server
from vaultstream.doctor.findings import Level, any_failed, failed, ok, warning
from vaultstream.doctor.jobs import HeldLease, judge_bounds, judge_leases
from vaultstream.doctor.machine import examine_machine, judge_mode, judge_space
from vaultstream.doctor.revocations import judge_stream_states
from vaultstream.doctor.source import judge_source_login
from vaultstream.doctor.streams import judge_stream
from vaultstream.errors import UsageError
from vaultstream.keys.worker import make_key
from vaultstream.local.services import inspect_services
from vaultstream.store.sessions import WorkerSession
from vaultstream.store.source_login import Place, SourceLogin

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

HEALTHY = ServerHealth(
    version_num=160004,
    version="16.4",
    in_recovery=False,
    read_only=False,
    fsync=True,
    full_page_writes=True,
    synchronous_commit="on",
    connections_left=90,
)
RECORDS = StreamState(
    name=RECORDS_STREAM,
    subjects=["records.>"],
    retention="workqueue",
    storage="file",
    replicas=1,
    messages=3,
    bytes=300,
    max_msgs_per_subject=-1,
    limits={},
    consumers=[],
    max_msg_size=1024,
)


def test_a_healthy_server_passes() -> None:
    assert {finding.level for finding in judge_server(HEALTHY, "postgresql://db/x")} == {Level.OK}


@pytest.mark.parametrize(
    ("change", "level", "said"),
    [
        ({"version_num": 130012, "version": "13.12"}, Level.FAILED, "version 13.12"),
        ({"in_recovery": True}, Level.FAILED, "standby"),
        ({"read_only": True}, Level.FAILED, "default_transaction_read_only"),
        ({"fsync": False}, Level.FAILED, "fsync is off"),
        ({"synchronous_commit": "off"}, Level.WARNING, "synchronous_commit is off"),
        ({"fsync": False, "full_page_writes": False}, Level.FAILED, "fsync and full_page_writes are off"),
        ({"connections_left": 1}, Level.WARNING, "1 connection is left"),
        ({"connections_left": -2}, Level.WARNING, "0 connections are left"),
    ],
)
def test_what_puts_signatures_at_risk_is_found(change: dict[str, object], level: Level, said: str) -> None:
    bad = [f for f in judge_server(replace(HEALTHY, **change), "u") if f.level is not Level.OK]  # type: ignore[arg-type]

    assert [finding.level for finding in bad] == [level]
    assert said in bad[0].message
    assert bad[0].hint


def test_a_password_in_the_url_is_not_shown() -> None:
    assert "geheim" not in judge_server(HEALTHY, "postgresql://me:geheim@db/x")[0].message


@pytest.mark.parametrize(
    ("installed", "embedded", "level"),
    [
        (2, False, Level.OK),
        (1, False, Level.FAILED),
        (0, False, Level.FAILED),
        (1, True, Level.OK),
        (3, False, Level.FAILED),
        (3, True, Level.FAILED),
    ],
)
def test_a_schema_of_another_version_is_a_failure_unless_commands_bring_it_up_to_date(
    installed: int, embedded: bool, level: Level
) -> None:
    assert judge_schema(installed, 2, embedded=embedded).level is level


@pytest.mark.parametrize(
    ("mode", "level"), [(0o700, Level.OK), (0o711, Level.OK), (0o755, Level.WARNING), (0o770, Level.WARNING)]
)
def test_a_directory_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, level: Level) -> None:
    assert judge_mode(tmp_path, mode).level is level


@pytest.mark.parametrize(
    ("free", "level"), [(10 * 1024**3, Level.OK), (1024**3, Level.WARNING), (1024**2, Level.FAILED)]
)
def test_a_disk_that_fills_up_is_reported_in_time(tmp_path: Path, free: int, level: Level) -> None:
    assert judge_space(tmp_path, free).level is level


def test_a_data_directory_that_is_a_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    for data_dir in (tmp_path / "data", tmp_path / "data" / "below"):
        assert any_failed(examine_machine(data_dir))
        with pytest.raises(UsageError, match="it is a file, or below one"):
            inspect_services(data_dir)


def test_a_stream_as_it_must_be_passes() -> None:
    assert judge_stream(RECORDS_STREAM, RECORDS, wanted_now=True).level is Level.OK


@pytest.mark.parametrize(
    ("name", "change", "level", "said"),
    [
        (RECORDS_STREAM, {"retention": "limits"}, Level.FAILED, "retention is limits instead of workqueue"),
        (RECORDS_STREAM, {"subjects": ["r.>"]}, Level.FAILED, "subjects"),
        (RECORDS_STREAM, {"limits": {"max_age": 60.0}}, Level.WARNING, "max_age = 60"),
        (RECORDS_STREAM, {"max_msg_size": 1}, Level.FAILED, "max_msg_size is 1 instead of 1024"),
        (KEYS_STREAM, {"subjects": ["keys.>"], "retention": "limits"}, Level.FAILED, "max_msgs_per_subject"),
    ],
)
def test_a_stream_that_could_lose_or_repeat_messages_is_found(
    name: str, change: dict[str, object], level: Level, said: str
) -> None:
    finding = judge_stream(name, replace(RECORDS, **change), wanted_now=True)  # type: ignore[arg-type]

    assert finding.level is level
    assert said in finding.message


def test_a_stream_with_fewer_replicas_than_the_settings_ask_for_is_found() -> None:
    finding = judge_stream(RECORDS_STREAM, RECORDS, wanted_now=True, replicas=3)

    assert finding.level is Level.WARNING
    assert "1 replica, and VAULTSTREAM_NATS_REPLICAS asks for 3" in finding.message
    enough = replace(RECORDS, replicas=5)
    assert judge_stream(RECORDS_STREAM, enough, wanted_now=True, replicas=3).level is Level.OK


def test_a_missing_stream_matters_only_while_workers_run() -> None:
    assert judge_stream(RECORDS_STREAM, None, wanted_now=False).level is Level.OK
    assert judge_stream(RECORDS_STREAM, None, wanted_now=True).level is Level.WARNING


def lease(seconds_left: float, holder: str = "host:12:abcd") -> HeldLease:
    return HeldLease(job_no=1, job="j", key_id="k", holder=holder, seconds_left=seconds_left)


def test_leases_of_connected_signers_are_in_order() -> None:
    (finding,) = judge_leases([lease(20)], [WorkerSession("signing", 1, "host", 12, 4, "sign")])

    assert finding.level is Level.OK


def test_of_many_lost_leases_some_are_named_and_all_counted() -> None:
    (finding,) = judge_leases([lease(20)] * 5, [])

    assert "5 keys are leased by signers that are not connected" in finding.message
    assert finding.message.count("host:12") == 3
    assert "and 2 more" in finding.message


def test_the_bounds_of_leases_are_said_and_a_lease_beyond_them_is_found() -> None:
    assert judge_bounds([]).level is judge_bounds([lease(20)]).level is Level.OK
    assert "1 h" in judge_bounds([]).message
    assert "24 h" in judge_bounds([]).message
    beyond = judge_bounds([lease(20), lease(9000)])
    assert beyond.level is Level.WARNING
    assert "1 lease lasts for up to 9,000 s more" in beyond.message
    old = judge_bounds([replace(lease(20), seconds_held=7200.0), replace(lease(-5), seconds_held=9000.0)])
    assert old.level is Level.WARNING
    assert "1 lease has been renewed for up to 7,200 s" in old.message


def test_a_ring_without_a_key_that_is_needed_fails() -> None:
    ring = KeyRing((KeyEncryptionKey.generate(),))

    assert judge_ring(ring, {ring.primary.kek_id: 3}).level is Level.OK
    assert "kek-000000000000 (2 keys)" in judge_ring(ring, {"kek-000000000000": 2}).message


def test_no_number_of_wrapped_keys_that_a_login_has_added_fills_the_report() -> None:
    ring = KeyRing((KeyEncryptionKey.generate(),))

    message = judge_ring(ring, {f"{number}{'k' * 1000}": 1 for number in range(5000)}).message
    assert "and 4,990 more" in message
    assert len(message) < 2000


def test_an_envelope_that_was_changed_is_a_failure_that_shows_no_secret() -> None:
    ring = KeyRing((KeyEncryptionKey.generate(),))
    wrapped = wrap(ring.primary, b"secret", job="j", key_id="k", version=1, algorithm=Algorithm.ED25519)

    no_key = judge_unwrapping("j", ring, [wrapped], {})
    changed = judge_unwrapping("j", ring, [replace(wrapped, version=2)], {})

    assert no_key.level is changed.level is Level.FAILED
    assert "secret" not in no_key.message + changed.message


def test_a_key_whose_public_half_is_another_s_is_found() -> None:
    ring = KeyRing((KeyEncryptionKey.generate(),))
    good, bad = (make_key("j", Algorithm.ED25519, ordinal, ring) for ordinal in (1, 2))
    wrapped = [good.wrapped, bad.wrapped]
    public = {good.wrapped.key_id: good.public_key, bad.wrapped.key_id: good.public_key}

    found = judge_unwrapping("j", ring, wrapped, public)

    assert judge_unwrapping("j", ring, wrapped[:1], public).level is Level.OK
    assert found.level is Level.FAILED
    assert bad.wrapped.key_id in found.message


def test_warnings_are_not_failures() -> None:
    assert not any_failed([ok("a", "b"), warning("a", "b")])
    assert any_failed([ok("a", "b"), failed("a", "b")])


@pytest.mark.parametrize(
    ("powers", "owns", "given", "embedded", "level"),
    [
        ((), False, True, False, Level.OK),
        ((), False, False, False, Level.OK),
        (("shop_owner",), True, False, True, Level.OK),
        (("shop_owner",), True, False, False, Level.WARNING),
        (("vaultstream_auditor",), False, False, False, Level.WARNING),
        (("vaultstream_auditor",), False, True, False, Level.WARNING),
    ],
)
def test_a_login_that_reads_records_and_can_do_more_is_reported(
    *, powers: tuple[str, ...], owns: bool, given: bool, embedded: bool, level: Level
) -> None:
    login = SourceLogin("shop", superuser=False, owns=owns, powers=powers, place=Place(1, 2))
    finding = judge_source_login(login, given=given, embedded=embedded)
    assert finding.level is level
    assert "'shop'" in finding.message
    assert (finding.hint is None) == (level is Level.OK)


def test_keys_that_the_stream_has_as_retired_are_named() -> None:
    """A restore has made them active; one that was revoked is worse."""
    told = {"key-1": "retired", "key-2": "revoked", "key-3": "retired", "key-4": "active"}
    states = dict.fromkeys(told, "active") | {"key-3": "retired"}
    retired, revoked = judge_stream_states("receipts", told, states)
    assert (retired.level, revoked.level) == (Level.WARNING, Level.FAILED)
    assert ("key-1 as retired" in retired.message, "key-3" in retired.message) == (True, False)
    assert "key-2 as revoked" in revoked.message
    assert judge_stream_states("receipts", told, {**states, "key-1": "revoked", "key-2": "revoked"}) == []
