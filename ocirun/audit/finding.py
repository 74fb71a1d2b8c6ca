"""Grades, rules and findings, which every family of the audit uses.

Source: docs/audit.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

CRITICAL: Final = "critical"  # a process inside can take over the host
HIGH: Final = "high"  # it reaches other users' data, or most of the way to the host
MEDIUM: Final = "medium"  # it harms the host or others, or another mistake makes it high
LOW: Final = "low"  # more than it needs
NOTE: Final = "note"  # worth knowing, nothing to fix
# From the worst to the least.
GRADES: Final = (CRITICAL, HIGH, MEDIUM, LOW, NOTE)


class Rule:
    """One thing that the audit looks for.

    `name` is stable. `grades` are the possible grades of its findings, the worst first. `remedy` is
    the fix, `breaks` what the fix takes away from the program; one sentence each.
    """

    __slots__ = ("breaks", "grades", "name", "remedy")

    def __init__(self, name: str, grades: tuple[str, ...], remedy: str, breaks: str) -> None:
        self.name = name
        self.grades = grades
        self.remedy = remedy
        self.breaks = breaks

    def found(self, grade: str, sentence: str, pointer: str) -> Finding:
        """Return a finding; `pointer` is the JSON pointer of the place in config.json to change."""
        return Finding(self, grade, sentence, pointer)


class Finding:
    """A finding: its rule, grade, reason, and JSON pointer into config.json."""

    __slots__ = ("grade", "pointer", "rule", "sentence")

    def __init__(self, rule: Rule, grade: str, sentence: str, pointer: str) -> None:
        self.rule = rule
        self.grade = grade
        self.sentence = sentence
        self.pointer = pointer

    def body(self) -> dict[str, str]:
        """Return the finding as JSON, in the order of schemas/audit/audit.json."""
        return {
            "grade": self.grade,
            "rule": self.rule.name,
            "sentence": self.sentence,
            "pointer": self.pointer,
            "remedy": self.rule.remedy,
            "breaks": self.rule.breaks,
        }


if TYPE_CHECKING:
    Found = Iterator[Finding]


def worst(findings: list[Finding]) -> str | None:
    """Return the worst grade of `findings`; None if empty."""
    return min((one.grade for one in findings), key=GRADES.index, default=None)


def reaches(findings: list[Finding], grade: str) -> bool:
    """Return whether a finding has `grade` or a worse one."""
    limit = GRADES.index(grade)
    return any(GRADES.index(one.grade) <= limit for one in findings)
