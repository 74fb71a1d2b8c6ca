"""`ocirun audit`: what a process in a bundle's container, or in a running one, would hold."""

from __future__ import annotations

import os

from ocirun.cli.output import write
from ocirun.errors import ContainerNotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.audit.examine import Audit
    from ocirun.cli.call import Call

CONFIG: Final = "config.json"
TOO_MUCH: Final = 2  # exit status of --fail-on, apart from that of a failed command


def run(call: Call) -> int:
    """Print the findings; return 2 where one is as bad as --fail-on, or worse."""
    form, limit = call.text("format"), call.text("fail-on")
    if form not in {"text", "json"}:
        raise UsageError("invalid format option")
    from ocirun.audit.finding import GRADES, reaches

    if limit and limit not in GRADES:
        raise UsageError(f"invalid value for --fail-on: {limit!r} is not {', '.join(GRADES)}")
    audit = _audit(call, call.arguments[0])
    if form == "json":
        from ocirun.spec.jsontext import indented

        write(indented(audit.body(), "  ") + "\n")
    else:
        write(_text(audit))
    return TOO_MUCH if limit and reaches(audit.findings, limit) else 0


def _audit(call: Call, word: str) -> Audit:
    """Audit what `word` is: a path if it has a slash or is `.`, else an id, else a directory."""
    from ocirun.audit.examine import audit_bundle, audit_container

    name = call.text("config") or CONFIG
    if "/" not in word and word not in {".", ".."}:
        try:
            return audit_container(call.store(), word)
        except ContainerNotFound:
            if not os.path.lexists(word):
                raise
    if os.path.isdir(word):
        return audit_bundle(word, name)
    if name != CONFIG:
        raise UsageError(f"--config names a file in a bundle, and {word} is a file itself")
    bundle, name = os.path.split(word.rstrip("/"))
    return audit_bundle(bundle or ".", name)


def _text(audit: Audit) -> str:
    """Return the report for people: a line for each finding, with pointer and remedy below."""
    from ocirun.audit.finding import GRADES
    from ocirun.spec.jsontext import printable

    lines = []
    for finding in audit.findings:
        lines.append(f"{finding.grade:8}  {finding.rule.name}: {finding.sentence}")
        lines.append(f"          {finding.pointer}: {finding.rule.remedy}")
        lines.append(f"          This breaks: {finding.rule.breaks}")
    lines += [
        f"differs   {one.subject}: config.json {one.config}, kernel {one.kernel}"
        for one in audit.differences
    ]
    lines += [f"unknown   {reason}" for reason in audit.unknown]
    grades = [finding.grade for finding in audit.findings]
    counts = [f"{grades.count(grade)} {grade}" for grade in GRADES if grade in grades]
    lines.append(f"{audit.subject}: {', '.join(counts) or 'nothing found'}")
    return "".join(f"{printable(line)}\n" for line in lines)
