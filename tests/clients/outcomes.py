"""The table of docs/clients.md: a row for each test, a column for each runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

BEGIN = "<!-- outcomes: written by `make clients` -->\n"
END = "<!-- end of outcomes -->\n"

_found: dict[str, dict[str, dict[str, str]]] = {}  # client → case → runtime → outcome


def note(report: pytest.TestReport) -> None:
    """Remember how a test ended; a failure in the setup or the cleaning counts as one."""
    if "tests/clients/" not in report.nodeid or (report.when != "call" and report.passed):
        return
    path, _, name = report.nodeid.partition("::")
    client = Path(path).stem.removeprefix("test_")
    case, _, rest = name.partition("[")
    words = rest.rstrip("]").split("-")
    runtime = next((word for word in words if word in ("runc", "ours")), "both")
    others = ", ".join(word for word in words if word not in ("runc", "ours", ""))
    case = case.removeprefix("test_").replace("_", " ") + (f": {others}" if others else "")
    row = _found.setdefault(client, {}).setdefault(case, {})
    if report.passed:
        row.setdefault(runtime, "passes")
    elif report.skipped and isinstance(report.longrepr, tuple):
        row[runtime] = report.longrepr[2].removeprefix("Skipped: ")
    else:
        row[runtime] = "**fails**"


def write(path: str | None) -> None:
    """Put the table between the marks of the page at `path` (None: nowhere)."""
    if path is None or not _found:
        return
    page = Path(path).read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    Path(path).write_text(before + BEGIN + "\n" + _tables() + "\n" + END + after)


def _tables() -> str:
    lines: list[str] = []
    for client, cases in _found.items():
        lines += [f"### {client}", "", "| case | runc | ocirun |", "|---|---|---|"]
        for case, row in cases.items():
            both = row.get("both")
            lines.append(
                f"| {case} | {row.get('runc', both or '')} | {row.get('ours', both or '')} |"
            )
        lines.append("")
    return "\n".join(lines)
