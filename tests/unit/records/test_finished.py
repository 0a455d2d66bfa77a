"""What has a canonical form has it wherever the program asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.canonical import MAX_LEVELS
from vaultstream.records.composed import finished
from vaultstream.records.reasons import PAYLOAD_NOT_CANONICAL, SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unit

Finished = tuple[bytes | None, int | None]


def nested(levels: int, start: str, end: str, value: str) -> bytes:
    inner = levels - 1
    return f'{{"v":{start * inner}{value}{end * inner}}}'.encode()


def deep_in_calls(frames: int, call: Callable[[], Finished]) -> Finished:
    return deep_in_calls(frames - 1, call) if frames else call()


@pytest.mark.parametrize("frames", [0, 200])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ('{"é":', "}")])
@pytest.mark.parametrize("value", ["1", "1e+30"])
def test_how_deep_a_payload_may_be_nested_does_not_depend_on_the_caller(
    frames: int, start: str, end: str, value: str
) -> None:
    for levels in (1, MAX_LEVELS, MAX_LEVELS + 1, 300, 470, 20_000):
        payload = nested(levels, start, end, value)
        found = deep_in_calls(frames, lambda payload=payload: finished(payload, len(payload), 10**6))  # type: ignore[misc]
        expected = (payload, len(payload)) if levels <= MAX_LEVELS else (None, None)
        assert found == expected, levels


def test_the_sentence_of_a_payload_without_a_form_names_the_limit() -> None:
    assert f"more than {MAX_LEVELS} levels" in SENTENCES[PAYLOAD_NOT_CANONICAL]
