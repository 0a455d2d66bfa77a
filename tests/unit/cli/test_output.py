"""The command writes in one place, where each text is made visible and none is taken for markup."""

from __future__ import annotations

import ast
import io
import sys
from pathlib import Path

import pytest
from rich.text import Text

import vaultstream_cli
from vaultstream.errors import VaultStreamError
from vaultstream.visible import visible
from vaultstream_cli import output
from vaultstream_cli.display import duration, eta_text
from vaultstream_cli.main import main

pytestmark = pytest.mark.unit

EVIL = "\x1b[2J\x07\x9b31m\u202e [bold]:smile:\r\x08"
SHOWN = r"\x1b[2J\x07\x9b31m\u202e [bold]:smile:\r\x08"
PACKAGE = Path(vaultstream_cli.__file__).parent


def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize(
    "show",
    [
        output.note,
        output.warn,
        output.print_text,
        output.print_line,
        output.print_file,
        lambda text: output.print_error(VaultStreamError(text, hint=text)),
        lambda text: output.print_table(("a", text), [(text, 1)], title=text),
        lambda text: output.out.print(text, markup=True, emoji=True),
        lambda text: output.print_traceback(ValueError, ValueError(text), None),
    ],
)
def test_whatever_is_printed_is_visible(monkeypatch: pytest.MonkeyPatch, show: object) -> None:
    stream = written(monkeypatch)
    show(EVIL)  # type: ignore[operator]
    text = stream.getvalue()
    assert SHOWN in text
    assert visible(text, keep="\n") == text


def test_a_text_with_styles_is_made_visible_too(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch)
    output.err.print(Text("\x1b[2J\u202e", style="bold"))
    assert stream.getvalue() == "\\x1b[2J\\u202e\n"


def test_a_message_of_several_lines_can_not_forge_another(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch)
    output.note("the job failed: no table\nerror: all is lost")
    assert stream.getvalue() == "the job failed: no table\n  error: all is lost\n"


def test_a_cell_of_a_table_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch)
    output.print_table(("record", "reason"), [("7\n8  PayloadNull", "x")])
    assert len(stream.getvalue().splitlines()) == 2


def test_wrong_arguments_are_shown_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["export", "job", "--format", EVIL], ["status", f"--{EVIL}", "job"], [EVIL]):
        monkeypatch.setattr(sys, "argv", ["vaultstream", *arguments])
        with pytest.raises(SystemExit) as exited:
            main()
        assert exited.value.code == 2
        text = capfd.readouterr().err
        assert r"\x1b[2J\x07\x9b31m\u202e" in text
        assert visible(text, keep="\n") == text


def test_an_unknown_format_is_named_plainly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vaultstream", "export", "job", "--format", "xml"])
    with pytest.raises(SystemExit) as exited:
        main()
    assert exited.value.code == 2
    assert "'--format': 'xml' is not one of 'jsonl', 'csv', 'parquet'." in capfd.readouterr().err


def _writes(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "Console", "Text", "typer.echo", "typer.secho", "typer.confirm"}:
                found.add(called)
            if called.endswith((".from_markup", ".write")):
                found.add(called)
            markup = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("markup")
            if called == "TextColumn" and "{task.fields" not in ast.unparse(node) and markup != "False":
                found.add(called)
    return found


def test_only_the_module_of_the_output_writes() -> None:
    elsewhere = {
        str(path.relative_to(PACKAGE)): writes
        for path in PACKAGE.rglob("*.py")
        if path.name != "output.py" and (writes := _writes(ast.parse(path.read_text("utf-8"))))
    }
    assert elsewhere == {"main.py": {"sys.stderr.write"}}  # a fixed text, before anything is imported


class _Job:
    def __init__(self, *, ended: bool) -> None:
        self.ended = ended


@pytest.mark.parametrize(
    ("ended", "seconds", "parts"),
    [(True, 0.0, []), (False, 0.0, []), (False, 2.5, ["ETA 2.5 s"]), (False, None, ["ETA -"])],
)
def test_a_job_that_ends_has_no_time_left(ended: bool, seconds: float | None, parts: list[str]) -> None:
    assert eta_text(_Job(ended=ended), seconds) == parts  # type: ignore[arg-type]
    assert duration(0.85) == "850 ms"
