"""Each bad bundle has its finding, the good one nothing above "note", and the page has all rules.

Source: docs/audit.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from harness import bad_bundles
from harness.bad_bundles import TABLE, Bad
from harness.machine import REPO

from ocirun.audit import of_config
from ocirun.audit.examine import all_rules, audit_bundle
from ocirun.audit.finding import GRADES, reaches, worst
from ocirun.spec.schema import report

PAGE = REPO / "docs" / "audit.md"
# libseccomp makes the same rules for each architecture: test_seccomp.py has a filter of another.
# Only root writes file capabilities: test_audit_reach.py has such a program.
WITHOUT_A_BUNDLE = {"seccomp-other-architecture", "file-capabilities"}


@pytest.fixture(scope="module")
def special(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bad_bundles.make_special(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: f"{bad.rule}-{bad.grade}")
def test_a_bad_bundle_has_its_finding(
    bad: Bad, tmp_path: Path, special: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_config, "layout", lambda: "hybrid")
    bad_bundles.write(bad, tmp_path, special)
    audit = audit_bundle(str(tmp_path))
    found = [(one.rule.name, one.grade, one.pointer) for one in audit.findings]
    assert (bad.rule, bad.grade, bad.pointer) in found
    assert report(audit.body(), "audit") == []
    for one in audit.findings:
        assert one.grade in one.rule.grades, one.sentence
        assert one.sentence.endswith("."), one.sentence


@pytest.mark.parametrize(("layout", "grade"), [("v1", "critical"), ("v2", "medium")])
def test_a_mount_of_cgroups_is_what_the_host_makes_of_it(
    layout: str, grade: str, tmp_path: Path, special: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CAP_SYS_ADMIN: release_agent is a file of v1."""
    (bad,) = (one for one in TABLE if (one.rule, one.grade) == ("cgroup-writable", "critical"))
    bad_bundles.write(bad, tmp_path, special)
    monkeypatch.setattr(of_config, "layout", lambda: layout)
    found = {one.rule.name: one.grade for one in audit_bundle(str(tmp_path)).findings}
    assert found["cgroup-writable"] == grade


def test_the_table_has_a_bundle_for_every_rule() -> None:
    families = {bad.rule for bad in TABLE} | WITHOUT_A_BUNDLE
    lacking = {rule.name for rule in all_rules()} - families
    assert {name for name in lacking if not name.startswith("cap-")} == set()
    assert len(TABLE) >= 25


def test_a_limit_of_any_length_is_read(tmp_path: Path) -> None:
    """Python refuses to read a number of more than 4,300 digits."""
    config = bad_bundles.good()
    config["linux"]["resources"] = {"unified": {"pids.max": "9" * 5000, "memory.max": "64"}}
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "pids-unlimited" in {one.rule.name for one in audit_bundle(str(tmp_path)).findings}


def test_the_good_bundle_has_nothing_above_note(tmp_path: Path) -> None:
    config = bad_bundles.good()
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config))
    audit = audit_bundle(str(tmp_path))
    assert worst(audit.findings) == "note", [one.sentence for one in audit.findings]
    assert audit.unknown == []
    assert not reaches(audit.findings, "low")
    assert reaches(audit.findings, "note")


def test_the_page_lists_all_rules_with_their_grades_remedies_and_prices() -> None:
    row = re.compile(r"^\| `([\w-]+)` \| ([\w, ]+) \| (.+\.) \| (.+\.) \|$", re.MULTILINE)
    rows = row.findall(PAGE.read_text())
    listed = {name: (grades, remedy, breaks) for name, grades, remedy, breaks in rows}
    for rule in all_rules():
        if not rule.name.startswith("cap-"):
            expected = (", ".join(rule.grades), rule.remedy, rule.breaks)
            assert listed.pop(rule.name) == expected
    assert listed == {}


def test_the_page_lists_what_each_capability_allows() -> None:
    from ocirun.audit import rights

    text = PAGE.read_text()
    for name, (grade, words) in rights.ALLOWS.items():
        confined = rights.CONFINED.get(name, "note")
        assert f"| `{rights.name_of(name)}` | {grade} | {words} | {confined} |" in text, name
    for name, (kind, grade, words) in rights.ON_THE_HOST.items():
        assert f"| `{rights.name_of(name)}` | {kind} | {grade} | {words} |" in text, name


def test_grades_have_an_order() -> None:
    assert GRADES == ("critical", "high", "medium", "low", "note")
