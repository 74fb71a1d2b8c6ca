"""What the audit says about reach is proved by doing it, or has a reason why not.

Source: docs/audit.md.
"""

from __future__ import annotations

import importlib.util

from harness.machine import REPO
from harness.proofs import PROVED, UNPROVED

from ocirun.audit.examine import all_rules

CHAPTERS = ("test_audit.py", "test_audit_capabilities.py", "test_audit_reach.py")


def test_every_rule_has_a_proof_or_a_reason_why_not() -> None:
    for name in CHAPTERS:
        spec = importlib.util.spec_from_file_location(name[:-3], REPO / "tests/integration" / name)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    names = {rule.name for rule in all_rules()}
    assert names - {*PROVED, *UNPROVED} == set()
    assert {*PROVED, *UNPROVED} - names == set()
    assert {*PROVED} & {*UNPROVED} == set()
