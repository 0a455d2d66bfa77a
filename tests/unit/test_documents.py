"""The documents: no link in them is dead, and what they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_FENCED = re.compile(r"^```.*?^```$", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\)")


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        taken = sum(
            each == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", each) is not None for each in found
        )
        found.add(f"{slug}-{taken}" if taken else slug)
    return found


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yields the page and the anchor of each link of a page into this repository."""
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield file, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    for file, anchor in links(page):
        there = (page.parent / file).resolve() if file else page
        assert there.exists(), f"{page.name} links to {file}, which is not there"
        assert ROOT in there.parents, f"{page.name} links out of the repository: {file}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {file}#{anchor}, which is not there"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            left += [(page.parent / file).resolve() for file, _ in links(page) if file]
    assert set((ROOT / "docs").rglob("*.md")) <= reached


def test_every_test_that_a_page_names_is_there() -> None:
    written = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"def (test_\w+)", written))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert named - there - {"test_a_retired_key_is_not_leased"} == set(), (
        "an example of a name, in CONTRIBUTING"
    )
    assert len(named) > 20


def test_every_source_file_that_a_page_names_is_there() -> None:
    folders = ("cli", "hack", "operator", "tests", "workers")
    there = {str(file) for folder in folders for file in (ROOT / folder).rglob("*.*") if file.is_file()}
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # it names what was there
    named = {name for page in pages for name in re.findall(r"`([\w./-]+\.(?:py|sql))`", page.read_text())}
    assert {name for name in named if not any(file.endswith(f"/{name}") for file in there)} == set()
    assert len(named) > 10


def test_a_secret_or_a_dump_is_written_for_its_owner_alone() -> None:
    """A file has the mode of the umask, which mostly lets every user of the machine read."""
    written = re.compile(r"base64 -d >|pg_dump (?!.*\|)")
    blocks = [block for page in PAGES for block in _FENCED.findall(page.read_text()) if written.search(block)]
    assert len(blocks) >= 4
    assert [block for block in blocks if "umask 077" not in written.split(block)[0]] == []


@pytest.mark.parametrize("picture", sorted((ROOT / "docs/images").glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_has_a_title_and_fetches_nothing(picture: Path) -> None:
    text = picture.read_text()
    root = ET.fromstring(text)
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert not re.findall(r"(?:href|src)=[\"'](?!#)", text)
    assert "<script" not in text


def test_every_path_that_contributing_names_is_there() -> None:
    written = _FENCED.sub("", (ROOT / "CONTRIBUTING.md").read_text())
    named = set(re.findall(r"`([\w./-]*/[\w./-]*|\.?\w+\.(?:md|py|toml|sql|sample))`", written))
    own_names = {"handlers.py", "core/", "adapters/"}  # of the operator, whose folder is beside them
    missing = {name for name in named - own_names if not (ROOT / name).exists()}
    assert missing == set()
    assert len(named) > 20
    operator = ROOT / "operator/vaultstream_operator"
    assert [name for name in own_names if not (operator / name).exists()] == []


def test_every_file_of_the_repository_that_a_program_names_is_there() -> None:
    programs = [page for folder in ("workers", "cli", "operator") for page in (ROOT / folder).rglob("*.py")]
    path = re.compile(r"\b(?:charts|deploy|docs|examples|hack)/[\w./-]+\.[a-z]+\b")
    named = {name for program in programs for name in path.findall(program.read_text())}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(named) > 5


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("workers/vaultstream/store/sql/leases.sql", "lease"),
        ("workers/vaultstream/scaling/decide.py", "def _cooldown_left"),
        ("workers/vaultstream/records/reasons.py", "SENTENCES"),
        ("workers/vaultstream/signing/read.py", "reasons"),
        ("workers/vaultstream/store/sql/functions/count_attempt.sql", "p_reason"),
        ("operator/vaultstream_operator/api/reasons.py", "def say"),
        ("workers/vaultstream/scaling/reasons.py", "Reason"),
        ("workers/vaultstream/errors.py", "exit_code"),
    ],
)
def test_contributing_links_to_where_things_are_done(file: str, words: str) -> None:
    assert file in {target for target, _ in links(ROOT / "CONTRIBUTING.md")}
    assert words in (ROOT / file).read_text()


def test_the_style_page_has_at_most_40_lines() -> None:
    style = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Style\n")[2].partition("\n## ")[0]
    assert 0 < len(style.strip().splitlines()) <= 40
