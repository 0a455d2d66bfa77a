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


def test_a_range_is_a_bar_from_its_lowest_to_its_highest_value_and_what_is_unknown_has_no_dot() -> None:
    plot = Plot("Rate", "Signers", ["1", "2"], [Series("a", [2, None], [(1, 4)], dashed=True)])
    root = ET.fromstring(plot.svg())
    [bar] = [line for line in root.iter(f"{SVG}line") if line.attrib.get("stroke-width") == "5"]
    [dot] = root.iter(f"{SVG}circle")
    assert float(bar.attrib["y2"]) < float(dot.attrib["cy"]) < float(bar.attrib["y1"])
    assert float(bar.attrib["y2"]) >= 0
    [line] = root.iter(f"{SVG}polyline")
    assert "stroke-dasharray" in line.attrib


def test_text_is_light_on_a_dark_page() -> None:
    [style] = ET.fromstring(Plot("Rate", "Signers", ["1"], [Series("a", [1])]).svg()).iter(f"{SVG}style")
    assert "prefers-color-scheme:dark" in (style.text or "")
