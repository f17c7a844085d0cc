"""docs/decisions has an index, and every record its number and its title."""

import re
from datetime import date
from pathlib import Path

import pytest

DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(path for path in DECISIONS.glob("*.md") if path.name != "README.md")
ROW = re.compile(r"^\| \[(\d+)\]\((\S+)\) \| (.+) \| (\S+) \|$", re.MULTILINE)


def number(record: Path) -> int:
    return int(record.name.partition("-")[0])


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_record_begins_with_its_number_and_a_title(record: Path) -> None:
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", record.name)
    assert re.match(rf"# {number(record)}\. [A-Z].*\n\n", record.read_text())


def test_no_two_records_have_one_number() -> None:
    assert len({number(record) for record in RECORDS}) == len(RECORDS)


def test_the_index_has_every_record_with_its_title_and_the_day_it_was_written() -> None:
    rows = ROW.findall((DECISIONS / "README.md").read_text())
    titles = {record: record.read_text().partition("\n")[0].partition(". ")[2] for record in RECORDS}
    assert [row[:3] for row in rows] == [(str(number(r)), r.name, titles[r]) for r in RECORDS]
    assert all(date.fromisoformat(row[3]) for row in rows)
