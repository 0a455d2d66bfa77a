"""The reasons: each has its sentence, and none repeats a reason of scaling."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from vaultstream_operator.api.reasons import _NORMAL, _WARNING, JobReason, say
from vaultstream_operator.api.status import REASON

pytestmark = pytest.mark.unit

SENTENCES = {**_NORMAL, **_WARNING}


def values_of(sentence: str) -> dict[str, str | int]:
    """Returns a value for each name in a template: a number for those with a format."""
    return {name: 7 if spec else f"<{name}>" for _, name, spec, _ in Formatter().parse(sentence) if name}


@pytest.mark.parametrize("reason", JobReason)
def test_every_reason_has_one_sentence_that_is_filled_in(reason: JobReason) -> None:
    assert (reason in _NORMAL) != (reason in _WARNING)
    values = values_of(SENTENCES[reason])
    statement = say(reason, **values)
    assert re.fullmatch(REASON, statement.reason)
    assert all(str(value) in statement.message for value in values.values())
    assert statement.message.endswith((".", ">"))
    assert statement.event_type == ("Normal" if reason in _NORMAL else "Warning")


@pytest.mark.parametrize(("keys", "text"), [(1, "1 key,"), (24, "24 keys,"), (1200, "1,200 keys,")])
def test_a_number_agrees_with_its_noun(keys: int, text: str) -> None:
    assert text in say(JobReason.NO_ACTIVE_KEY, count=keys, token="t").message


def test_a_missing_value_raises_an_error_instead_of_leaving_a_gap() -> None:
    with pytest.raises(KeyError, match="namespace"):
        say(JobReason.SECRET_MISSING, secret="s", keys="k")


@pytest.mark.parametrize(
    "reason", sorted(set(_WARNING) - {JobReason.SCALING_HELD, JobReason.ANNOTATION_UNREADABLE})
)
def test_a_warning_says_what_to_do_or_what_will_happen(reason: JobReason) -> None:
    text = SENTENCES[reason]
    assert re.search(
        r"`|\b(create|add|correct|run|fix|delete|remove|raise|automatically|again|give)\b",
        text,
        re.IGNORECASE,
    )
