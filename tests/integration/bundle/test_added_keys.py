"""What no key vouches for that was given: records and keys from after the seal, which whoever made a bundle can have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.bundles import TOKEN, MadeBundle, batches_of

if TYPE_CHECKING:
    from pathlib import Path

    from integration.bundle.conftest import Judge

pytestmark = pytest.mark.integration

ADDED = f"{TOKEN}-key-3"


@pytest.mark.parametrize("added", [(), (ADDED,)])
def test_a_record_from_after_a_complete_jobs_seal_was_dead_before_or_is_a_fault(
    judge: Judge, tmp_path: Path, added: tuple[str, ...]
) -> None:
    """Whoever hands on a bundle can add a record with a key of their own, and say that the key is newer than the seal."""
    first, second, third = batches_of(3, 1, 2)
    made = MadeBundle([first, second], after_seal=[third], added=added)
    made.write(tmp_path / "bundle")
    pinned = tmp_path / "pinned.jwks"
    pinned.write_text(made.pinned)
    for options in ((), ("--keys", str(pinned))):
        verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey, *options)
        assert verdict.code == 1, verdict.output
        assert any("was signed since the job was sealed as complete" in fault for fault in verdict.faults)


def test_a_key_that_was_added_since_the_seal_is_vouched_for_by_pinned_keys_alone(
    judge: Judge, tmp_path: Path
) -> None:
    first, second, retried = batches_of(3, 1, 2)
    made = MadeBundle([first, second], dead=retried.ids, after_seal=[retried], added=[ADDED])
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert (verdict.code, verdict.faults) == (3, []), verdict.output
    assert "whose 1 key" in verdict.not_checked
    assert "Nothing is wrong\n" not in verdict.output
    pinned = tmp_path / "pinned.jwks"
    pinned.write_text(made.pinned)
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey, "--keys", str(pinned))
    assert (verdict.code, verdict.faults) == (0, []), verdict.output


def test_a_key_that_was_added_and_has_signed_nothing_is_no_doubt(judge: Judge, tmp_path: Path) -> None:
    first, second, third = batches_of(3, 1, 2)
    made = MadeBundle([first, second], after_seal=[third], added=[ADDED])
    assert len(made.keys) == 3  # before the batch is gone
    made.after_seal = ()
    made.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert (verdict.code, verdict.faults) == (0, []), verdict.output
    assert "whose 1 key" in verdict.not_checked
