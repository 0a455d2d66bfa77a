"""Plots, drawn as SVG."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from plots import HEIGHT, WIDTH, Plot, Series, nice_ceiling

pytestmark = pytest.mark.unit

SVG = "{http://www.w3.org/2000/svg}"


def test_each_value_has_its_dot_inside_the_picture_and_higher_ones_lie_higher() -> None:
    plot = Plot(
        "Rate <of> & all", "Signers", ["1", "2", "3"], [Series("a", [1, 5, 3]), Series("b", [0, 0, 9])]
    )
    root = ET.fromstring(plot.svg())
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")]
    assert len(dots) == 6
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in dots)
    assert dots[1][1] < dots[2][1] < dots[0][1]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"Rate <of> & all", "Signers", "1", "2", "3", "a", "b"} <= set(texts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 1), (1, 1), (3, 4), (41_000, 50_000), (97_091, 100_000), (107_090, 120_000), (0.7, 0.8)],
)
def test_an_axis_ends_at_a_round_number(value: float, expected: float) -> None:
    assert nice_ceiling(value) == pytest.approx(expected)
