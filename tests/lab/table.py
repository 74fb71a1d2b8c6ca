"""The table of docs/lab.md: which chapter ran on which layout, and how many of its tests.

    python -m tests.lab.table COLUMN JUNIT...

puts what pytest wrote (--junitxml) into one column; other cells stay. `make lab` does it by itself
for the files it has run in full.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/lab.md"
BEGIN = "<!-- chapters: written by tests/lab/table.py -->\n"
END = "<!-- end of chapters -->\n"
COLUMNS = ("hybrid", "6.12-root", "6.1-root", "6.12-u1", "trixie-6.12-root", "trixie-6.12-u1")

Cells = dict[str, dict[str, str]]  # chapter → column → counts


def main() -> int:
    column, *reports = sys.argv[1:]
    update(column, [Path(name) for name in reports])
    return 0


def update(column: str, reports: list[Path], page: Path = PAGE) -> None:
    """Put the counts of some junit reports into a column of the page.

    Raises:
        ValueError: the table has no such column.
    """
    if column not in COLUMNS:
        raise ValueError(f"no column {column}: {', '.join(COLUMNS)}")
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    cells = read_table(table)
    for report in reports:
        for chapter, counts in count(report).items():
            cells.setdefault(chapter, {})[column] = counts
    page.write_text(before + BEGIN + write_table(cells) + END + after)


def count(report: Path) -> dict[str, str]:
    """The outcomes of each test file, in words."""
    found: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        names = case.get("classname", "").split(".")
        chapter = next((name for name in names if name.startswith("test_")), None)
        if chapter:
            found.setdefault(chapter, Counter())[outcome(case)] += 1
    order = ("passed", "failed", "expected to fail", "skipped")
    return {
        chapter: ", ".join(f"{counts[word]} {word}" for word in order if counts[word])
        for chapter, counts in found.items()
    }


def outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    if skipped is None:
        return "passed"
    return "expected to fail" if skipped.get("type") == "pytest.xfail" else "skipped"


def read_table(text: str) -> Cells:
    cells: Cells = {}
    for line in text.splitlines():
        words = [word.strip() for word in line.strip().strip("|").split("|")]
        if len(words) == len(COLUMNS) + 1 and words[0].startswith("test_"):
            row = {column: word for column, word in zip(COLUMNS, words[1:], strict=True) if word}
            cells[words[0]] = row
    return cells


def write_table(cells: Cells) -> str:
    lines = ["", f"| chapter | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for chapter, row in sorted(cells.items()):
        lines.append(f"| {chapter} | {' | '.join(row.get(name, '') for name in COLUMNS)} |")
    return "\n".join([*lines, "", ""])


if __name__ == "__main__":
    sys.exit(main())
