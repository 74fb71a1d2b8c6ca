"""The tables of docs/clients-outcomes.md: a row for each test, a column for each runtime."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clients.calls import Outcome

# What differs from call to call, and what stands for it in the table.
_VARYING = ((r"[0-9a-f]{64}", "ID"), (r"usage: \d+", "usage: N"), (r"/self/fd/\d+", "/self/fd/N"),
            (r"\.? time=\"[^\"]*\" level=error msg=\"error waiting for container: [^\"]*\"", "."),
            (r"runctop\d+/runctmpdir\d+", "runctopN/runctmpdirN"))  # fmt: skip

_said: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}  # asked, case → runtime → words
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


def tell(runtime: str, asked: str, case: str, done: Outcome) -> None:
    """Remember what a client said when `case` was asked of it."""
    words = " ".join(done.said.partition("\n\nRun 'docker run --help'")[0].split())
    for pattern, word in _VARYING:
        words = re.sub(pattern, word, words)
    words = words.replace(runtime, "RUNTIME")
    status = "error" if done.code < 0 else str(done.code)
    _said.setdefault((asked, case), {})[Path(runtime).name] = (status, words)


def write(path: str | None) -> None:
    """Put the tables into the page at `path`, below its introduction (None: nowhere).

    Those of clients that this session was not about stay as they are.
    """
    if path is None or not _found:
        return
    introduction, *old = Path(path).read_text().split("\n## ")
    sections = dict(map(_section, old))
    sections |= dict(map(_section, ("\n" + _tables()).split("\n## ")[1:]))
    tables = "\n\n".join(f"## {name}\n\n{lines}" for name, lines in sorted(sections.items()))
    Path(path).write_text(f"{introduction.strip()}\n\n{tables}\n")


def _section(text: str) -> tuple[str, str]:
    name, _, lines = text.partition("\n")
    return name, lines.strip()


def _errors() -> list[str]:
    """The table of messages; where both say the same but for the runtime's name, once."""
    lines = [
        "## messages",
        "",
        "| asked | status | runc says | ocirun says |",
        "|---|---|---|---|",
    ]
    for (asked, case), row in _said.items():
        status, theirs = row.get("runc", ("", ""))
        own_status, ours = row.get("ocirun", ("", ""))
        if ours == theirs.replace("runc create failed", "ocirun create failed"):
            ours = "the same"
        statuses = status if status == own_status else f"{status}, ocirun {own_status}"
        lines.append(f"| {asked}: {case} | {statuses} | {_cell(theirs)} | {_cell(ours)} |")
    return [*lines, ""]


def _cell(words: str) -> str:
    return words if words == "the same" else "`" + words.replace("|", "\\|") + "`"


def _tables() -> str:
    lines: list[str] = _errors() if _said else []
    for client, cases in _found.items():
        lines += [f"## {client}", "", "| case | runc | ocirun |", "|---|---|---|"]
        for case, row in cases.items():
            both = row.get("both")
            lines.append(
                f"| {case} | {row.get('runc', both or '')} | {row.get('ours', both or '')} |"
            )
        lines.append("")
    return "\n".join(lines)
