"""Named queries: how they are read, that all are used, and that no module holds SQL of its own."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultstream.store.sql import arguments, parse_queries, query

ROOT = Path(__file__).parents[3]
PRODUCT = ("workers/vaultstream", "operator/vaultstream_operator", "cli/vaultstream_cli")

_SENT = {"execute", "executemany", "fetch", "fetchrow", "fetchval", "fetch_one", "prepare", "cursor"}
_STATEMENT = re.compile(
    r"\s*(SELECT\b(?! ON$)|INSERT INTO\b|UPDATE \S+ SET\b|DELETE FROM\b|WITH \S+ AS\b|SET (LOCAL|SESSION|TRANSACTION)\b|"
    r"(UN)?LISTEN \w|NOTIFY \w|(CREATE|ALTER|DROP|LOCK|TRUNCATE) TABLE\b|CREATE (DATABASE|ROLE)\b|"
    r"ANALYZE \S+$|VACUUM\b|EXPLAIN\b|COPY \S+ (FROM|TO)\b|UNION ALL\b)"
)


def constants(tree: ast.AST) -> Iterator[ast.Constant]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def text_of(node: ast.AST) -> str | None:
    """The text at the start of a string, be it formatted or added up; None: it is no string that is written there."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[first, *_]):
            return text_of(first)
        case ast.BinOp(left=left):
            return text_of(left)
        case _:
            return None


def inline_statements(source: str) -> list[str]:
    tree = ast.parse(source)
    found = [n.value for n in constants(tree) if _STATEMENT.match(n.value)]
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        found += [
            text
            for argument in call.args[:2]
            if name in _SENT and (text := text_of(argument)) and " " in text
        ]
    return found


def modules() -> list[Path]:
    return [path for folder in PRODUCT for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_module_holds_a_statement() -> None:
    found = {path.relative_to(ROOT): inline_statements(path.read_text("utf-8")) for path in modules()}
    assert {path: statements for path, statements in found.items() if statements} == {}


@pytest.mark.parametrize(
    "source",
    [
        'connection.execute("GRANT SELECT ON records TO somebody")',
        'connection.fetchval(f"SHOW {name} ")',
        'fetch_one(connection, "TABLE " + name)',
        'SQL = "SELECT 1"',
        'SQL = """\n    WITH a AS (SELECT 1) SELECT FROM a"""',
        'SQL = f"LOCK TABLE {table}"',
        'SQL = "UPDATE vaultstream.jobs SET state = NULL"',
    ],
)
def test_a_statement_in_a_module_is_found(source: str) -> None:
    assert inline_statements(source)


def query_names() -> set[str]:
    files = (ROOT / "workers/vaultstream/store/sql").glob("*.sql")
    return set(parse_queries((file.name, file.read_text("utf-8")) for file in files))


def test_arguments_are_in_the_order_of_the_parameters() -> None:
    text = "SELECT f(p_one => $2::int[], p_two_b => $1, p_c => $10)"
    assert arguments(text, one=1, c=3, two_b=2) == [2, 1, 3]


@pytest.mark.parametrize("values", [{"one": 1}, {"one": 1, "two": 2, "three": 3}, {"one": 1, "tow": 2}])
def test_arguments_must_be_those_of_the_query(values: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="one, two"):
        arguments("SELECT f(p_one => $1, p_two => $2)", **values)


def test_every_query_is_used() -> None:
    used = {node.value for path in modules() for node in constants(ast.parse(path.read_text("utf-8")))}
    assert query_names() - used == set()


def test_every_name_that_is_asked_for_is_there() -> None:
    calls = [
        n
        for path in modules()
        for n in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(n, ast.Call)
    ]
    asked = [
        n.args[0].value
        for n in calls
        if ast.unparse(n.func) in {"query", "sql.query", "job_query"} and isinstance(n.args[0], ast.Constant)
    ]
    assert len(asked) > 50
    assert set(asked) <= query_names()


def test_a_query_without_its_comments() -> None:
    text = "-- Jobs.\n\n-- name: one\n-- {a} is a comment\nSELECT 1\n-- and so is this\n\n-- name: two\nSELECT 2\n"
    assert parse_queries([("jobs.sql", text)]) == {"one": "SELECT 1", "two": "SELECT 2"}


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([("a.sql", "-- name: one\nSELECT 1\n-- name: one\nSELECT 2")], "a.sql: 'one' is already"),
        (
            [("a.sql", "-- name: one\nSELECT 1"), ("b.sql", "-- name: one\nSELECT 2")],
            "b.sql: 'one' .* in a.sql",
        ),
        ([("a.sql", "SELECT 1\n-- name: one\nSELECT 1")], "a.sql: SQL before"),
        ([("a.sql", "-- name: One two\nSELECT 1")], "a.sql: 'One two'"),
        ([("a.sql", "-- name: one\n-- name: two\nSELECT 1")], "a.sql: .* 'one' is empty"),
    ],
)
def test_files_that_can_not_be_read(files: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_queries(files)


def test_an_unknown_name() -> None:
    with pytest.raises(LookupError, match="'find_jobb'"):
        query("find_jobb")


def test_a_template_is_filled_in() -> None:
    assert query("analyze", table='"a"') == 'ANALYZE "a"'
    with pytest.raises(LookupError, match="table"):
        query("analyze", tabel='"a"')
