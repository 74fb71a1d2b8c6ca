"""config-linux.md#allowed-device-list: three readings of a rule list must agree.

The plain one (last match wins), the boiled-down one, and what a model of the kernel's v1 device
cgroup ends up with after the writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.devicerules import QUESTIONS, RULES, last_match_wins, permits
from hypothesis import example, given

from ocirun.cgroups.devicerules import Verdicts, text, verdicts_of
from ocirun.cgroups.v1.devices import parse_list, transition
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable


@given(RULES)
@example([{"allow": True, "type": "c", "major": 1, "minor": 1, "access": "rwm"},
          {"allow": False, "type": "c", "access": "r"}])  # fmt: skip
def test_boiled_down_rules_say_what_the_list_says(rules: list[dict[str, object]]) -> None:
    try:
        verdicts = verdicts_of(rules)
    except SetupError as error:
        assert "cannot punch a hole" in str(error)  # noqa: PT017
        return
    for question in QUESTIONS:
        assert permits(verdicts, question) == last_match_wins(rules, question), question


@given(before=RULES, after=RULES)
def test_the_writes_lead_from_any_state_to_any_other(
    device_kernel: Callable[[Verdicts, list[tuple[str, list[str]]]], Verdicts],
    before: list[dict[str, object]],
    after: list[dict[str, object]],
) -> None:
    try:
        current, target = verdicts_of(before), verdicts_of(after)
    except SetupError:
        return
    writes = transition(current, target)
    assert device_kernel(current, writes) == target
    assert transition(target, target) == []
    if current.allows == target.allows:
        assert not any("a" in lines for _, lines in writes)


@given(RULES)
def test_the_list_file_reads_back_what_was_written(rules: list[dict[str, object]]) -> None:
    try:
        target = verdicts_of([*rules, {"allow": False}, *rules])
    except SetupError:
        return
    lines = "".join(text(key, bits) + "\n" for key, bits in target.exceptions.items())
    if not target.allows:
        assert parse_list(lines) == target


def test_allowed_by_default_shows_no_exceptions() -> None:
    assert parse_list("a *:* rwm\n") == Verdicts(allows=True)


def test_a_hole_in_a_wider_rule_is_refused_with_both_named() -> None:
    rules = [
        {"allow": True, "type": "c", "major": 1, "access": "rw"},
        {"allow": False, "type": "c", "major": 1, "minor": 5, "access": "w"},
    ]
    try:
        verdicts_of(rules)
    except SetupError as error:
        message = str(error)
    else:
        message = ""
    assert "'c 1:5 w'" in message
    assert "'c 1:* rw'" in message


def test_what_several_rules_permit_is_permitted_at_once() -> None:
    """Kernel: v1 looks for one exception that has all that is asked for."""
    rules = [
        {"allow": True, "type": "c", "major": 1, "access": "w"},
        {"allow": True, "type": "c", "minor": 3, "access": "r"},
        {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rm"},
        {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "m"},
    ]
    held = {text(key, bits) for key, bits in verdicts_of(rules).exceptions.items()}
    assert held == {"c 1:* w", "c *:3 r", "c 1:3 rw", "c 1:5 rwm", "c 1:7 m"}


def test_missing_access_denies_all_and_allows_nothing() -> None:
    granted = [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]
    assert verdicts_of([{"allow": True, "type": "c", "major": 1, "minor": 3}]).exceptions == {}
    denied = [*granted, {"allow": False, "type": "c", "major": 1, "minor": 3}]
    assert verdicts_of(denied).exceptions == {}
