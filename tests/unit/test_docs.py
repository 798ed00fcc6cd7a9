# SPDX-License-Identifier: Apache-2.0
"""
The pages say what the code does: citations, links, commands, settings, metrics, tests.
"""

from __future__ import annotations

import io
import re
import shlex
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from connector import cli
from connector.admin.docs import described
from connector.config import core, kafka, registry
from connector.config.core import CoreSettings
from connector.config.fields import settings_of
from connector.config.kafka import KafkaVariables
from connector.config.properties import SETTABLE
from connector.config.registry import RegistrySettings
from connector.config.sources import prefix_of
from connector.docs import generated
from connector.encoding import docs as schema_docs
from connector.encoding import schemas
from connector.markdown import replace_part, table
from connector.providers import PROVIDERS

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (ROOT, ROOT / "docs", ROOT / "docs/decisions", ROOT / "benchmarks")
    for page in folder.glob("*.md")
)
CODE = sorted(
    file
    for folder in ("connector", "tests", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
)
DESIGN, RULES = (ROOT / "docs" / name for name in ("design.md", "exactly-once.md"))


def name_of(file: Path) -> str:
    """Name a file below the checkout."""
    return file.relative_to(ROOT).as_posix()


@cache
def words_of(file: Path) -> str:
    """Give the comments and texts of a module as one line."""
    found = [
        token.string.lstrip("#")
        for token in tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
        if token.type in {tokenize.COMMENT, tokenize.STRING}
    ]
    return " ".join(" ".join(found).split())


def cited(file: Path, pattern: str) -> Iterator[str]:
    """Give the numbers of citations, also of such as ``R6, R7 and R9``."""
    for match in re.finditer(pattern, words_of(file)):
        yield from re.findall(r"\d+", match[0])


def numbered(page: Path, pattern: str) -> set[str]:
    """Give the numbers that a page has, by what stands before them."""
    return set(re.findall(pattern, page.read_text(), re.MULTILINE))


MORE = r"(?:(?:, | and | to |-)\d+)*"
CITATIONS = [
    (rf"[Ii]nvariants? \d+{MORE}", numbered(DESIGN, r"^(\d+)\. ")),
    (rf"DESIGN,? sections? \d+{MORE}", numbered(DESIGN, r"^## (\d+)\. ")),
    (rf"exactly-once,? section \d+{MORE}", numbered(RULES, r"^## (\d+)\. ")),
    (r"\bR\d+\b", numbered(RULES, r"^\| R(\d+) \|")),
    (r"\bP\d+\b", numbered(RULES, r"^\| P(\d+) \|")),
    (rf"\bnotes \d+{MORE}", numbered(RULES, r"^\| (\d+) \|")),
    (rf"\bseeds? \d{{3}}{MORE}", numbered(DESIGN, r"^\| (\d{3}) \|")),
]


@pytest.mark.parametrize(("pattern", "known"), CITATIONS, ids=[each[0] for each in CITATIONS])
def test_citations_lead_somewhere(pattern, known):
    """
    Each invariant, section, rule, note and page that a comment cites is there.
    """
    lost = [
        f"{name_of(file)}: {number}"
        for file in CODE
        if file != Path(__file__)
        for number in cited(file, pattern)
        if number not in known
    ]

    assert known
    assert [] == lost


def test_there_are_ten_invariants():
    """
    The numbers are a promise: none is missing, none was added silently.
    """
    assert {str(number) for number in range(1, 11)} == CITATIONS[0][1]


def test_files_that_comments_name_exist():
    """
    A page that a comment names is in the repository.
    """
    lost = [
        f"{name_of(file)}: {path}"
        for file in CODE
        for path in re.findall(r"\bdocs/[\w/-]+\.md", words_of(file))
        if not (ROOT / path).exists()
    ]

    assert [] == lost


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page, as its headings make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).strip().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    """
    Each relative link of a page leads to a file, and to a heading if it names one.
    """
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert [] == lost


def examples(page: Path) -> Iterator[list[str]]:
    """Give the calls of ``connector`` on a page, as arguments."""
    text = page.read_text()
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    calls = re.findall(r"`(connector [^`\n]+)`", text) + blocks.splitlines()
    for call in calls:
        for part in re.split(r"&&|;", call):
            words = shlex.split(part, comments=True)
            if words[:1] == ["connector"] and not re.search(r"[<…|]", part):
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_a_page_exist(page):
    """
    Each call of ``connector`` that a page shows is one that the command line takes.
    """
    for words in examples(page):
        parent = click.Context(cli.connector)
        command: click.Command | None = cli.connector.get_command(parent, words[0])
        assert command is not None, words
        rest = words[1:]
        while isinstance(command, click.Group) and rest:
            parent = click.Context(command, parent=parent)
            command = command.get_command(parent, rest.pop(0))
            assert command is not None, words
        if rest:
            command.make_context(words[0], rest, parent=parent)


def test_the_table_of_the_readme_has_all_commands():
    """
    README lists each command, with what ``--help`` says about it.
    """
    rows = dict(
        re.findall(
            r"^\| `connector (\w+)` \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE
        )
    )

    assert list(cli.COMMANDS) == list(rows)
    for name, text in cli.COMMANDS.items():
        assert rows[name].startswith(text.rstrip(".")), name


def test_variables_of_all_pages_exist():
    """
    Each variable that a page names is a setting.
    """
    models = [
        (CoreSettings, core.PREFIX),
        (KafkaVariables, kafka.PREFIX),
        (RegistrySettings, registry.PREFIX),
        *((provider.settings, prefix_of(name)) for name, provider in PROVIDERS.items()),
    ]
    known = {s.variable for model, prefix in models for s in settings_of(model, prefix)}
    known |= {kafka.PREFIX + name.replace(".", "_").upper() for name in SETTABLE}
    # Read by the sandbox, and what only shows the form.
    known |= {"CONNECTOR_SANDBOX_CACHE", "_CONNECTOR_COMPLETE", "STEDI_ACME_PAGE_SIZE"}
    lost = [
        f"{name_of(page)}: {name}"
        for page in PAGES
        for name in re.findall(r"\b_?(?:CONNECTOR|MONETAGO|STEDI)_[A-Z_]*[A-Z]\b", page.read_text())
        if name.removesuffix("_FILE") not in known
        # The stem of several: CONNECTOR_KAFKA_…
        and not any(each.startswith(f"{name}_") for each in known)
    ]

    assert [] == lost


def test_metrics_of_all_pages_exist():
    """
    Each metric that a page names is exposed, and each word of a label stands in the code.
    """
    known = {each.name for each in described()}
    lost = [
        f"{name_of(page)}: {name}"
        for page in PAGES
        for name in re.findall(r"`(connector_[a-z_]+)", page.read_text())
        if name not in known
    ]
    page = (ROOT / "docs/metrics.md").read_text()
    words = page.partition("## Words in labels")[2].partition("## ")[0]
    source = " ".join(file.read_text() for file in CODE if "connector" in name_of(file))

    assert [] == lost
    for word in re.findall(r"`(\w+)`", words):
        stem = "http_" if re.fullmatch(r"http_4\d\d", word) else f'"{word}"'
        assert stem in source or word in {
            "committed",
            "outcome",
            "cause",
            "reason",
            "note",
            "field",
        }


def test_tests_of_all_pages_exist():
    """
    Each test that a page names is there.
    """
    there = {
        name
        for file in CODE
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    lost = [
        f"{name_of(page)}: {name}"
        for page in PAGES
        for name in re.findall(r"`(test_\w+)`", page.read_text())
        if name not in there
    ]

    assert [] == lost


def test_tasks_of_all_pages_exist():
    """
    Each ``make`` that a page names is a target.
    """
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name
        for page in PAGES
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }

    assert named - targets == set()


def test_generated_pages_are_fresh():
    """
    What is generated in docs/ is what the code makes; if not: make docs.
    """
    for path, text in generated(ROOT).items():
        assert text == (ROOT / path).read_text(encoding="utf-8"), path


def test_every_field_of_a_schema_is_in_its_table():
    """
    Nested fields are told with their path, named types, logical types and nulls in words.
    """
    schema = schemas.parse(
        "x",
        b"""{"type": "record", "name": "X", "doc": "An x.", "fields": [
        {"name": "sum", "doc": "A sum.", "type": ["null",
          {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}]},
        {"name": "parts", "doc": "Parts.", "type": {"type": "array", "items": {"type": "record",
          "name": "Part", "doc": "A part.", "fields": [{"name": "at", "doc": "When.",
          "type": {"type": "long", "logicalType": "timestamp-millis"}}]}}},
        {"name": "other", "doc": "Another.", "type": ["null", "Part"]},
        {"name": "more", "doc": "More.", "type": {"type": "map", "values": "string"}}]}""",
    )

    text = schema_docs.tables([schema])

    assert "### `X`\n\nAn x.\n" in text
    for row in (
        "| `sum` | decimal(38, 18) or null | A sum. |",
        "| `parts` | array of record | Parts. |",
        "| `parts[].at` | timestamp-millis | When. |",
        "| `other` | `Part` or null | Another. |",
        "| `more` | map of string | More. |",
    ):
        assert row in text


def test_a_part_is_replaced_between_its_marks():
    """
    What people wrote around it stays; without marks it is an error.
    """
    page = "a\n<!-- x: generated -->\nold\n<!-- x: end -->\nb\n"

    assert (
        replace_part(page, "x", "new\n")
        == "a\n<!-- x: generated -->\n\nnew\n\n<!-- x: end -->\nb\n"
    )
    with pytest.raises(ValueError, match="no part 'y'"):
        replace_part(page, "y", "new")


def test_a_bar_in_a_cell_is_escaped():
    """
    A table keeps its columns.
    """
    assert table(("a", "b"), [("1|2", "3")]) == "| a | b |\n| --- | --- |\n| 1\\|2 | 3 |\n"
