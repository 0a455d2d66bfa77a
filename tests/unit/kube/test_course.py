"""The picture of a demo shows what was read of the job, and each decision."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from kube.course import RATE_SECONDS, RecordedCourse

pytestmark = pytest.mark.unit

BEGUN = 1_800_000_000.0


def status(signed: int, lag: int, **more: Any) -> dict[str, Any]:
    return {"signed": signed, "lag": lag, "state": "Running", "scaling": {"ready": 4}, **more}


def decision(at: float, before: int, after: int, message: str) -> dict[str, Any]:
    time = datetime.fromtimestamp(BEGUN + at, UTC).isoformat().replace("+00:00", "Z")
    return {"at": time, "replicas": before, "desired": after, "message": message}


@pytest.fixture
def course() -> RecordedCourse:
    made = RecordedCourse(BEGUN)
    made.read(BEGUN + 1, {})
    made.read(BEGUN + 3, status(0, 100))
    made.read(BEGUN + 4, status(1_000, 80))
    made.read(BEGUN + 8, status(9_000, 10))
    made.read(BEGUN + 10, status(10_000, 0, state="Complete", message="Signed all."))
    return made


def test_the_count_is_that_of_the_decisions_and_they_are_between_the_readings(course: RecordedCourse) -> None:
    course.decided([
        decision(0.5, 0, 0, "Kept 0 signers."),
        decision(2.5, 0, 4, "Scaled from 0 to 4 signers: lag."),
        decision(9.0, 4, 0, "Scaled from 4 to 0 signers: no work."),
    ])  # fmt: skip
    assert [(moment.at, moment.requested) for moment in course.moments] == [
        (0.0, 0),
        (1.0, 0),
        (2.5, 4),
        (3.0, 4),
        (4.0, 4),
        (8.0, 4),
        (9.0, 0),
        (10.0, 0),
    ]
    assert [moment.lag for moment in course.moments] == [0, 0, 0, 100, 80, 10, 10, 0]


def test_rates_are_those_between_two_readings_however_far_apart(course: RecordedCourse) -> None:
    rates = {moment.at: moment.rate for moment in course.moments}
    assert rates[4.0] == 1_000 / 3  # since the reading at 1 s
    assert rates[8.0] == 8_000 / 4  # since the one at 4 s: RATE_SECONDS earlier, the one before holds
    assert rates[0.0] == 0.0
    assert RATE_SECONDS == 3.0


def test_the_end_of_a_job_is_a_mark_also_where_no_decision_was_kept(course: RecordedCourse) -> None:
    ended = {"before": 4, "after": 0, "reason": "Ended", "at": "2027-01-15T08:00:10Z"}
    course.read(BEGUN + 11, {"message": "Signed all.", "scaling": {"changes": [ended]}})
    course.decided([decision(2.5, 0, 4, "Scaled from 0 to 4 signers.")])
    assert [(mark.at, mark.count, mark.why) for mark in course.marks] == [
        (2.5, 4, "Scaled from 0 to 4 signers."),
        (11.0, 0, "Signed all."),
    ]


def test_the_picture_numbers_each_decision_and_says_below_what_it_was(course: RecordedCourse) -> None:
    course.decided([
        decision(2.5, 0, 4, "Scaled from 0 to 4 signers: lag is 100 < 400 batches, and so on. " * 3),
        decision(9.0, 4, 0, "Scaled from 4 to 0 signers: no work."),
    ])  # fmt: skip
    drawn = course.svg("A demo")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert {"A demo", "signers requested", "records/s, over the latest 3 s", "1", "2"} <= set(texts)
    assert "2 9.0 s: Scaled from 4 to 0 signers: no work." in {" ".join(text.split()) for text in texts}
    assert "100 &lt; 400" in drawn
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawn).groups())  # type: ignore[union-attr]
    ends = [float(y) for y in re.findall(r'<text[^>]* y="([\d.]+)"', drawn)]
    assert max(ends) < height
    assert width == 760
