"""The rate of a signer and its error: the longest time that agrees with the latest, without what others signed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from vaultstream.scaling.pace import LEAST_ERROR, Point, SignerPace, paces_of

pytestmark = pytest.mark.unit


def trail(*spans: tuple[float, int, float], busy: bool = True) -> list[Point]:
    """Points 5 s apart; each span has seconds, ready signers and records per signer-second."""
    points, settled = [Point(0.0, 0, spans[0][1], busy=busy)], 0.0
    for seconds, ready, rate in spans:
        for _ in range(round(seconds / 5)):
            settled += 5 * ready * rate
            points.append(Point(points[-1].at + 5, round(settled), ready, busy=busy))
    return points


def pace(points: Iterable[Point]) -> SignerPace:
    found, _ = paces_of(list(points))
    assert found is not None
    return found


def test_a_steady_rate_is_known_better_the_longer_it_lasts() -> None:
    errors = [pace(trail((seconds, 4, 100.0))).error for seconds in (15, 30, 60, 120)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.05
    assert errors[-1] <= 1.2 * LEAST_ERROR
    assert pace(trail((120, 4, 100.0))).rate == 100.0


def test_too_little_is_no_pace() -> None:
    assert paces_of(trail((10, 4, 100.0))) == (None, None)
    assert paces_of(trail((60, 0, 0.0))) == (None, None)
    assert paces_of(trail((60, 4, 0.0))) == (None, None)
    assert paces_of(trail((60, 4, 100.0), busy=False)) == (None, None)  # they waited for work
    assert paces_of([]) == (None, None)


def test_noise_is_in_the_error() -> None:
    noisy = trail(*[(5, 4, rate) for rate in (60.0, 60.0, 150.0, 150.0, 70.0, 70.0) * 3])
    assert pace(noisy).error > 3 * pace(trail((90, 4, 100.0))).error


def test_a_rate_that_has_changed_is_that_of_the_latest_seconds() -> None:
    assert pace(trail((80, 4, 100.0), (30, 4, 60.0))).rate == pytest.approx(60.0)
    assert pace(trail((80, 4, 100.0), (30, 4, 99.0))).rate == pytest.approx(99.7, abs=0.1)


def test_signers_that_come_or_leave_are_counted_when_they_and_no_others_sign() -> None:
    # four that are not ready yet sign for 5 s already; four that were removed sign for 10 s more
    came = trail((30, 4, 100.0), (5, 4, 200.0), (30, 8, 100.0))
    assert pace(came).rate == pytest.approx(100.0)
    left = trail((30, 8, 100.0), (10, 4, 200.0), (30, 4, 100.0))
    assert pace(left).rate == pytest.approx(100.0)
    starting = trail((30, 4, 100.0), (5, 4, 200.0))
    assert pace(starting).rate > 110.0
    before = paces_of(starting)[1]
    assert before is not None
    assert before.rate == pytest.approx(100.0)  # without the latest seconds, in which others may sign already
