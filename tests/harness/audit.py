"""Call `ocirun audit` and read its report."""

from __future__ import annotations

from typing import Any

from harness.box import Box
from harness.bundle import Bundle
from ocirun.spec.schema import report

Report = dict[str, Any]


def audit(box: Box, subject: object, *flags: str, status: int = 0) -> Report:
    """The report about a bundle or a container; it conforms to its schema."""
    result = box.runtime.call("audit", "--format", "json", *flags, str(subject))
    assert result.status == status, result.story()
    found: Report = result.json()
    assert report(found, "audit") == []
    return found


def grades(found: Report) -> dict[str, str]:
    """The grade of each rule, the worst where it was found more than once."""
    return {one["rule"]: one["grade"] for one in reversed(found["findings"])}


def of_bundle(box: Box, bundle: Bundle) -> dict[str, str]:
    bundle.save()
    return grades(audit(box, f"{bundle.path}/"))


def grant(bundle: Bundle, *names: str) -> None:
    sets = bundle.process.setdefault("capabilities", {})
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = [*sets.get(kind, []), *names]
