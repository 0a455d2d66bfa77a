from __future__ import annotations

import pytest

from vaultstream.telemetry.health import Health, Verdict

pytestmark = pytest.mark.unit


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health("signing", loop_seconds=10, progress_seconds=60, answer_seconds=5, clock=clock)


def failing(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.detail for check in verdict.checks if not check.ok}


def test_a_worker_lives_as_long_as_its_event_loop_turns(health: Health, clock: Clock) -> None:
    clock.now += 10
    assert health.live().ok
    clock.now += 0.5
    assert failing(health.live()) == {"event loop": "last turned 10.5 s ago; the limit is 10 s"}
    health.turn()
    assert health.live().ok


def test_a_loop_that_passed_once_must_go_on_passing(health: Health, clock: Clock) -> None:
    health.beat("signing")
    health.beat("watching")
    clock.now += 61
    health.turn()
    health.beat("watching")
    assert set(failing(health.live())) == {"signing loop"}
    health.beat("signing")
    assert health.live().ok


def test_a_loop_that_has_ended_is_not_missed(health: Health, clock: Clock) -> None:
    health.beat("planning")
    health.rest("planning")
    health.rest("never begun")
    clock.now += 61
    health.turn()
    assert health.live().ok


def test_an_expected_condition_fails_until_it_was_seen(health: Health, clock: Clock) -> None:
    health.expect("postgres", within=5)
    assert failing(health.ready()) == {"postgres": "not seen yet"}
    health.seen("postgres")
    assert health.ready().ok
    clock.now += 5.1
    assert failing(health.ready()) == {"postgres": "last seen 5.1 s ago; the limit is 5 s"}


def test_one_missed_answer_is_not_a_failure_and_its_reason_is_reported_later(
    health: Health, clock: Clock
) -> None:
    health.expect("postgres", within=5)
    health.seen("postgres")
    health.missed("postgres", "connection refused")
    assert health.ready().ok
    clock.now += 6
    assert failing(health.ready())["postgres"].endswith(": connection refused")
    health.seen("postgres")
    clock.now += 6
    assert "refused" not in failing(health.ready())["postgres"]


def test_a_condition_is_checked_each_time(health: Health) -> None:
    trouble: str | None = "not connected"
    health.require("nats", lambda: trouble)
    assert failing(health.ready()) == {"nats": "not connected"}
    trouble = None
    assert health.ready().ok


def test_an_unreachable_service_makes_a_worker_unready_but_not_dead(health: Health) -> None:
    health.expect("postgres", within=5)
    health.require("nats", lambda: "not connected")
    assert not health.ready().ok
    assert health.live().ok


def test_no_password_stands_in_a_reason(health: Health) -> None:
    health.expect("postgres", within=5)
    health.missed("postgres", "can't reach postgresql://user:geheim@host/db")
    assert "geheim" not in failing(health.ready())["postgres"]
    assert "user:***@host" in failing(health.ready())["postgres"]


def test_a_condition_that_is_not_expected_is_not_checked(health: Health) -> None:
    health.require("nats", lambda: None)
    health.seen("something")
    health.missed("something", "gone")
    assert [check.name for check in health.ready().checks] == ["nats"]


def test_a_process_that_has_said_nothing_yet_is_not_ready(health: Health) -> None:
    assert failing(health.ready()) == {"start": "not complete yet"}


def test_a_verdict_says_each_check_and_why(health: Health) -> None:
    health.require("nats", lambda: "not connected")
    assert health.ready().document() == {
        "status": "failing",
        "role": "signing",
        "checks": {"nats": {"ok": False, "detail": "not connected"}},
    }
