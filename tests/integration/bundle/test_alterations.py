"""Whatever is altered in a bundle is refused, by the programs in it and by our own verification, with a sentence that names it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.bundle.alterations import ALTERATIONS, Folder, outside_of_the_log, shorter_checkpoint
from integration.bundle.conftest import Judge
from support.bundles import TOKEN, MadeBundle, batches_of

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_bundle_is_refused(judge: Judge, made: MadeBundle, copied: Path, alteration: str) -> None:
    alter, named = ALTERATIONS[alteration]
    alter(Folder(copied))
    verdict = judge(copied, "--seal-key", made.vkey)
    assert verdict.code == 1, verdict.output
    assert any(re.search(named, fault) for fault in verdict.faults), verdict.output


def test_a_genuine_bundle_is_accepted(judge: Judge, made: MadeBundle, genuine: Path, tmp_path: Path) -> None:
    pinned = tmp_path / "pinned.jwks"
    pinned.write_text(made.pinned)
    verdict = judge(genuine, "--seal-key", made.vkey, "--keys", str(pinned))
    assert (verdict.code, verdict.faults, verdict.not_checked) == (0, [], "")


def test_an_earlier_checkpoint_of_the_log_does_not_fit(judge: Judge, made: MadeBundle, copied: Path) -> None:
    shorter_checkpoint(Folder(copied), made)
    verdict = judge(copied, "--seal-key", made.vkey)
    assert verdict.code == 1
    assert "log.jsonl" in verdict.output


def test_nothing_outside_of_the_log_takes_a_revocation_back(
    judge: Judge, made: MadeBundle, tmp_path: Path
) -> None:
    """Batch 2 was signed after its key was revoked, as the log says. A later time of that is in no log, and nothing signs it."""
    late = replace(made, revoked={f"{TOKEN}-key-2": timedelta(seconds=1)})
    late.write(tmp_path / "bundle")
    pinned = tmp_path / "pinned.jwks"
    pinned.write_text(made.pinned)
    outside_of_the_log(Folder(tmp_path / "bundle"), "revocation")
    Folder(tmp_path / "bundle").member("statements.jsonl", 0, revokedAt="9999-01-01T00:00:00.000000Z")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey, "--keys", str(pinned))
    assert verdict.code == 1, verdict.output


def test_the_seal_key_of_another_installation_is_refused(
    judge: Judge, made: MadeBundle, genuine: Path
) -> None:
    for other in (MadeBundle(made.batches).vkey, MadeBundle(made.batches, seal_key=named_key("other")).vkey):
        verdict = judge(genuine, "--seal-key", other)
        assert verdict.code == 1
        assert "signed" in verdict.output


def named_key(name: str) -> Any:
    return replace(MadeBundle(batches_of(1)).seal_key, name=name)


def test_keys_that_are_not_pinned_are_refused(
    judge: Judge, made: MadeBundle, genuine: Path, tmp_path: Path
) -> None:
    keys = json.loads(made.pinned)["keys"]
    pinned = tmp_path / "pinned.jwks"
    others = MadeBundle(batches_of(5, 1, 3)).jwks
    for text in (json.dumps({"keys": keys[:2]}), others, made.jwks):
        pinned.write_text(text)
        verdict = judge(genuine, "--keys", str(pinned))
        assert verdict.code == 1
        assert "pinned" in verdict.output
        assert "who sealed the job" in verdict.not_checked


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"plan_changes": {"records": 10}}, "planned|records|signed"),
        ({"plan_changes": {"batches": 4}}, "batches"),
        ({"plan_changes": {"ranges_sha256": bytes(32)}}, "rangesSha256|digest"),
        ({"plan_changes": {"upper_id": "12"}}, "upper"),
        ({"plan_changes": {"job": "other"}}, "name|job"),
        ({"seal_changes": {"signed": 100}, "plan_changes": {"records": 102}}, "100"),
        ({"seal_changes": {"dead": 3}, "plan_changes": {"records": 12}}, "dead"),
        ({"seal_changes": {"job_token": "other-1a2b3c4d"}}, "other"),
        ({"seal_changes": {"keys_sha256": bytes(32)}}, "keys"),
        ({"seal_changes": {"tree_size": 7}}, "tree|state"),
        ({"revoked": {f"{TOKEN}-key-2": timedelta(seconds=1)}}, "revoked"),
    ],
)
def test_a_seal_that_does_not_fit_is_refused_although_it_is_signed(
    judge: Judge, made: MadeBundle, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    other = replace(made, **changes)
    other.write(tmp_path / "bundle")
    verdict = judge(tmp_path / "bundle", "--seal-key", made.vkey)
    assert verdict.code == 1
    assert any(re.search(named, fault) for fault in verdict.faults), verdict.output


def test_a_bundle_alone_shows_nothing_about_its_origin(judge: Judge, genuine: Path) -> None:
    verdict = judge(genuine)
    assert verdict.code == 3
    assert not verdict.faults
    assert "whose keys these are" in verdict.not_checked


def test_the_text_of_a_bundle_controls_no_terminal(judge: Judge, made: MadeBundle, copied: Path) -> None:
    Folder(copied).record(8, id="\x1b]0;x\x07\x9b2J\u202e")
    verdict = judge(copied, "--seal-key", made.vkey)
    assert verdict.code == 1
    if judge.__name__ != "our_verdict":  # the command escapes what it prints
        assert verdict.output.isascii()
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", verdict.output)
