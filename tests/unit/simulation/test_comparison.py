"""Comparisons: paired seeds, Student's intervals, arrivals that are read and made, and the measures of a run."""

from __future__ import annotations

import pytest

from vaultstream.scaling.curve import Curve
from vaultstream.simulation.arrivals import make_arrivals, parse_arrivals
from vaultstream.simulation.chart import text_chart
from vaultstream.simulation.comparison import RIVALS, Interval, compare
from vaultstream.simulation.run import Moment, simulate
from vaultstream.simulation.scenario import Arrival, Scenario

pytestmark = pytest.mark.unit

SMALL = Scenario("small", Curve(1_000.0), records=60_000, start_spread=0.25, noise=0.1, finish_within=40.0)


def test_an_interval_is_students() -> None:
    interval = Interval.of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0])
    # 2.262 · 3.0277 / sqrt(10), from a table
    assert (interval.mean, interval.high - interval.mean) == (5.5, pytest.approx(2.166, abs=0.002))
    assert Interval.of([4.0]) == Interval(4.0, 4.0, 4.0)


def test_every_rival_signs_everything_on_the_same_noise() -> None:
    compared = compare(SMALL, RIVALS, range(3))
    assert list(compared) == ["vaultstream", *RIVALS]
    assert all(run.finished for one in compared.values() for run in one.runs)
    assert compared["vaultstream"].runs == tuple(simulate(SMALL, seed) for seed in range(3))
    assert compared["oracle"].measures["regret_pod_seconds"].mean == 0.0
    assert compared["keda"].measures["regret_makespan"].mean > 0.0
    ratio = compared["keda"].ratios["makespan"].mean
    expected = [
        a.makespan / b.makespan
        for a, b in zip(compared["vaultstream"].runs, compared["keda"].runs, strict=True)
    ]
    assert ratio == pytest.approx(sum(expected) / 3)


def test_the_measures_are_those_of_the_run() -> None:
    measures = compare(SMALL, (), [1])["vaultstream"].measures
    run = simulate(SMALL, 1)
    assert measures["lateness"].mean == max(0.0, run.makespan - 40.0)
    assert measures["freshness"].mean == run.freshness
    assert 0.0 < run.freshness < run.makespan
    assert 0.0 <= run.reaction <= 1.5  # once per second while there are no records


def test_a_record_waits_for_the_start_and_half_of_the_work() -> None:
    plain = Scenario("plain", Curve(1_000.0), records=40_000, planning_rate=1e9, batch_size=100)
    run = simulate(plain)
    begun = run.makespan - 40.0 / 4
    assert run.freshness == pytest.approx(run.makespan - 3.0 - (run.makespan - begun) / 2, rel=0.15)


def test_arrivals_are_read_from_lines() -> None:
    text = "seconds,records\n# later\n\n60, 5\n30,2\n"
    assert parse_arrivals(text) == (Arrival(30.0, 2), Arrival(60.0, 5))


@pytest.mark.parametrize("line", ["5", "5,6,7", "-1,5", "5,-1", "5,x", "inf,5", "nan,5", "5,1.5"])
def test_a_line_that_is_no_arrival_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_arrivals(f"1,1\n{line}\n")


def test_arrivals_are_made_of_patterns() -> None:
    assert make_arrivals("burst:60:500") == (Arrival(60.0, 500),)
    assert make_arrivals("every:10:5:3") == (Arrival(10.0, 5), Arrival(20.0, 5), Arrival(30.0, 5))
    day = make_arrivals("diurnal:4800:1000000")
    assert sum(arrival.records for arrival in day) == pytest.approx(1_000_000, abs=50)
    assert max(day, key=lambda arrival: arrival.records).at == pytest.approx(2400.0, abs=200.0)


@pytest.mark.parametrize(
    "pattern", ["burst", "burst:5", "burst:5:x", "burst:0:5", "noon:5:5", "every:1:1:1e9", "burst:inf:1"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern|arrivals"):
        make_arrivals(pattern)


def test_the_chart_of_a_terminal_has_its_width_and_its_peak() -> None:
    moments = (Moment(0.0, 5, 0, 0, None), Moment(50.0, 5, 8, 0, None), Moment(100.0, 0, 0, 0, None))
    lines = text_chart(moments, 40, 4)
    assert max(len(line) for line in lines) <= 40
    assert lines[0].startswith("     8 │ ")
    assert lines[0].count("█") == pytest.approx(16, abs=1)
