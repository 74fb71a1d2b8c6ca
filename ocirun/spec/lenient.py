"""What runc's reader takes beyond the schemas, put into their form.

Members in another case (members.py), and what Go fills with zeros where it is absent:

    "pids": {}                          no limit
    "seccomp": {} without syscalls      no filter
    a rule with one "name"              as runtime-spec wrote it before 1.0
    a rule without names                no rule
    an argument without index or value  0

Cold: only a document that fails its check comes here. `validate` reports all of them.

Source: docs/runc-compat/init.md#validation; pkg.go.dev/encoding/json#Unmarshal.
"""

from __future__ import annotations

from ocirun.spec.members import respell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def settle(document: Any, kind: str) -> None:  # noqa: ANN401  # JSON of any shape
    """Put `document`, a "config", a "process" or "resources", into the form of its schema."""
    respell(document, kind)
    linux = _object(document, "linux")
    resources = document if kind == "resources" else _object(linux, "resources")
    if isinstance(resources, dict) and resources.get("pids") == {}:
        del resources["pids"]
    if "seccomp" in linux:
        _settle_seccomp(linux)


def _object(value: Any, name: str) -> dict[str, Any]:  # noqa: ANN401  # JSON of any shape
    """Return the object `name` of `value`; an empty one where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _settle_seccomp(linux: dict[str, Any]) -> None:
    seccomp = _object(linux, "seccomp")
    rules = seccomp.get("syscalls")
    if not rules and not seccomp.get("defaultAction") and isinstance(linux.get("seccomp"), dict):
        del linux["seccomp"]
    if not isinstance(rules, list):
        return
    for rule in rules:
        if not isinstance(rule, dict):
            return
        if not rule.get("names") and isinstance(rule.get("name"), str):
            # runc ignores it, and the call that the rule is about would not be filtered.
            rule["names"] = [rule["name"]]
        arguments = rule.get("args")
        for argument in arguments if isinstance(arguments, list) else ():
            if isinstance(argument, dict):
                argument.setdefault("index", 0)
                argument.setdefault("value", 0)
    seccomp["syscalls"] = [rule for rule in rules if rule.get("names")]
