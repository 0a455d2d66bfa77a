"""The forms of output are those of one module: each command that prints objects has them, for errors too."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import yaml

from support.command_tree import complete_line, leaves, option_names
from support.in_process import CliRunner
from vaultstream.errors import SourceError, VaultStreamError
from vaultstream_cli.forms import FormWanted, OutputForm, error_object, form_of_arguments, in_form
from vaultstream_cli.main import main
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

WITH_OBJECTS = [(words, command) for words, command in leaves() if "--json" in option_names(command)]
VALUE = [{"name": "a\x1b", "at": datetime(2026, 1, 2, tzinfo=UTC), "parts": [{"id": 1}, {"id": 2}]}]


def test_each_command_that_prints_objects_takes_all_forms_of_them() -> None:
    assert len(WITH_OBJECTS) >= 28
    for words, command in WITH_OBJECTS:
        (form,) = [p for p in command.params if p.name == "output_form"]
        assert {"--output", "-o"} <= set(form.opts), words
        choices = list(form.type_descriptor.annotation)
        assert choices[:2] == ["json", "yaml"], words
        assert ("wide" in choices) == ("--wide" in option_names(command)), words


@pytest.mark.parametrize("form", [("-o", "wide"), ("--wide",), ("-o", "wide", "--wide")])
def test_each_command_with_a_table_takes_the_wide_form(
    form: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = [(words, command) for words, command in WITH_OBJECTS if "--wide" in option_names(command)]
    assert tables
    for words, command in tables:
        ran = CliRunner().invoke(app, [*complete_line(words, command), *form])
        assert isinstance(ran.exception, SystemExit | None), (words, ran.exception)
        assert ran.exit_code in {0, 2}, words  # there is no database here


def test_an_object_is_the_same_in_each_form() -> None:
    as_json = json.loads(in_form(VALUE, FormWanted(OutputForm.JSON)))
    assert as_json == yaml.safe_load(in_form(VALUE, FormWanted(OutputForm.YAML)))
    assert as_json[0]["at"] == "2026-01-02T00:00:00+00:00"
    assert in_form(VALUE, FormWanted(OutputForm.NAME, ("name",))) == "a\\x1b\n"
    assert in_form(VALUE, FormWanted(OutputForm.NAME, ("parts", "id"))) == "1\n2\n"
    assert in_form({"a": 1}, FormWanted(OutputForm.YAML), indent=None) == "---\na: 1\n"
    for form in (OutputForm.JSON, OutputForm.YAML):
        assert "\x1b" not in in_form(VALUE, FormWanted(form))


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (SourceError("spec.records.table: there is no table 'x'."), "spec.records.table"),
        (SourceError("job.yaml:7: spec.batchSize must be at least 1."), "spec.batchSize"),
        (VaultStreamError("--records is for bundles."), "--records"),
        (VaultStreamError("There is nothing."), None),
        (VaultStreamError("There is nothing.", field="BATCH_SIZE"), "BATCH_SIZE"),
    ],
)
def test_the_field_of_an_error_is_named(error: VaultStreamError, field: str | None) -> None:
    assert error_object(error)["field"] == field


@pytest.mark.parametrize(
    ("arguments", "form"),
    [
        ([], OutputForm.TEXT),
        (["jobs", "-o"], OutputForm.TEXT),
        (["jobs", "--json", "--x"], OutputForm.JSON),
        (["jobs", "-o", "json"], OutputForm.JSON),
        (["jobs", "-ojson"], OutputForm.JSON),
        (["jobs", "--output=yaml"], OutputForm.YAML),
        (["jobs", "-o", "wide"], OutputForm.TEXT),
        (["extract", "job", "--", "--json"], OutputForm.TEXT),
    ],
)
def test_wrong_arguments_are_answered_in_the_form_that_they_ask_for(
    arguments: list[str], form: OutputForm
) -> None:
    assert form_of_arguments(arguments, takes_form=True) is form
    assert form_of_arguments(["export", "-o", "json"], takes_form=False) is OutputForm.TEXT


@pytest.mark.parametrize("form", [("--json",), ("-o", "json")])
def test_a_wrong_setting_ends_each_command_with_one_object(
    form: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BATCH_SIZE", "abc")
    for words, command in WITH_OBJECTS:
        ran = CliRunner().invoke(app, [*complete_line(words, command), *form])
        assert (ran.exit_code, ran.stdout) == (2, ""), words
        assert json.loads(ran.stderr) == {
            "error": "BATCH_SIZE must be a whole number from 1 to 20000, not 'abc'.",
            "field": "BATCH_SIZE",
            "hint": "Correct BATCH_SIZE in the environment, in .env or on the command line.",
            "exit_code": 2,
        }, words


def test_a_wrong_option_ends_each_command_with_one_object(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for words, _ in WITH_OBJECTS:
        for wrong, field in ((["--data-dir", ""], "--data-dir"), (["--kek-file"], "--kek-file")):
            monkeypatch.setattr(sys, "argv", ["vaultstream", *words, "--json", *wrong])
            with pytest.raises(SystemExit) as exited:
                main()
            out, err = capfd.readouterr()
            assert (exited.value.code, out) == (2, ""), words
            shown = json.loads(err)
            assert (shown["field"], shown["exit_code"]) == (field, 2), words
            assert shown["error"], words
            assert f"vaultstream {' '.join(words)}" in shown["hint"], words


GROUPS = sorted({words[:-1] for words, _ in leaves()})


@pytest.mark.parametrize(
    "form", [("--json",), ("-o", "json"), ("-ojson",), ("--output=json",), ("--json=1",)]
)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: " ".join(group) or "vaultstream")
def test_a_command_that_there_is_not_is_one_object(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    group: tuple[str, ...],
    form: tuple[str, ...],
) -> None:
    for words in ([*group, "bogus", *form], [*group, *form, "bogus"]):
        monkeypatch.setattr(sys, "argv", ["vaultstream", *words])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capfd.readouterr()
        assert (exited.value.code, out) == (2, ""), words
        shown = json.loads(err)
        assert (bool(shown["field"]), shown["exit_code"]) == (True, 2), words
        assert " ".join(["`vaultstream", *group, "--help`"]) in shown["hint"], words


def test_a_value_that_is_not_text_is_refused_by_each_command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    tried = 0
    for words, command in WITH_OBJECTS:
        texts = [p for p in command.params if p.type_descriptor.annotation is str and p.nargs == 1]
        options = [p for p in texts if p.opts[0].startswith("--")]
        own = [p for p in options if p.name not in {"database_url", "nats_url"}]
        for option in (own or options)[:1]:
            given = ["vaultstream", *complete_line(words, command), option.opts[0], "x\udcff", "--json"]
            monkeypatch.setattr(sys, "argv", given)
            with pytest.raises(SystemExit) as exited:
                main()
            shown = json.loads(capfd.readouterr().err)
            assert (exited.value.code, shown["field"]) == (2, option.opts[0]), given
            tried += 1
    assert tried >= 28


def test_two_forms_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(app, ["jobs", "--json", "-o", "yaml"])
    assert ran.exit_code == 2
    assert "Give one of both" in ran.output
