from __future__ import annotations

from dataclasses import replace

import pytest

from support.engine import make_spec
from support.stored import RUNNING
from vaultstream.api import JobState
from vaultstream.local.quick_start import choose_run, is_unfinished, run_name
from vaultstream.store.jobs import Job

pytestmark = pytest.mark.unit

SPEC = make_spec("quickstart_100", batchSize=10)
FIRST, SECOND, THIRD = (run_name(SPEC, number) for number in (1, 2, 3))


def run(name: str, **fields: object) -> Job:
    return replace(RUNNING, name=name, spec=SPEC, **fields)  # type: ignore[arg-type]


def chosen(*runs: Job, unfinished: set[str]) -> str:
    return choose_run(
        SPEC, {each.name: each for each in runs}, unfinished=lambda each: each.name in unfinished
    )


def test_runs_are_named_after_their_records_and_their_batch_size() -> None:
    assert (FIRST, THIRD) == ("quick-start-100-batch-10", "quick-start-100-batch-10-run-3")


def test_a_run_that_was_interrupted_is_resumed() -> None:
    assert chosen(run(FIRST), run(SECOND), unfinished={SECOND}) == SECOND


def test_a_new_run_takes_the_next_free_name() -> None:
    assert chosen(unfinished=set()) == FIRST
    assert chosen(run(FIRST), run(THIRD), unfinished=set()) == SECOND


def test_a_run_with_another_spec_is_not_resumed() -> None:
    other = replace(run(FIRST), spec=make_spec("quickstart_100", batchSize=10, keys={"count": 9}))
    assert chosen(other, unfinished={FIRST}) == SECOND


@pytest.mark.parametrize(
    ("state", "verified", "resumed"),
    [
        (JobState.RUNNING, False, True),
        (JobState.COMPLETE, False, True),
        (JobState.COMPLETE, True, False),
        (JobState.FAILED, False, False),
    ],
)
def test_a_run_is_unfinished_until_it_was_verified_or_failed(
    state: JobState, verified: bool, resumed: bool
) -> None:
    assert is_unfinished(run(FIRST, state=state), verified=verified) is resumed
