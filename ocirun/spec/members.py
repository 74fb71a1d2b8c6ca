"""The names of members: those that are known in another case, and unknown ones.

runc reads its documents with Go's encoding/json, which takes `nonewprivileges` for
`noNewPrivileges`. Ignoring such a member would run the container less confined than its author
believes, so it is renamed before anybody acts on it. A member with the exact name wins over those
in another case; of these the last one counts.

Cold: a document in the right case never comes here, because only a failing check leads here.

Source: pkg.go.dev/encoding/json#Unmarshal.
"""

from __future__ import annotations

from ocirun.errors import Problem
from ocirun.spec import checks
from ocirun.spec.jsontext import escaped, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

KINDS: Final = {
    "config": checks.CONFIG,
    "process": checks.PROCESS,
    "resources": checks.RESOURCES,
}


def respell(document: object, kind: str) -> list[Problem]:
    """Rename the members of `document` that are known in another case; return one problem for each.

    `kind` is a key of KINDS. Pointers lead to the members as they were spelled.
    """
    return list(_respell(document, KINDS[kind], ""))


def _respell(value: Any, node: checks.Node, pointer: str) -> Iterator[Problem]:  # noqa: ANN401  # JSON
    names: dict[str, str] = {}
    if isinstance(value, dict) and node[0] is checks._object:
        for name in list(value):
            known = checks._known_as(name, node[1])
            if not known:
                continue
            member = value.pop(name)
            if known in value and known not in names:
                note = f'is ignored beside "{known}"; other readers may take either'
                yield Problem(f"{pointer}/{escaped(name)}", note)
                continue
            names[known] = name
            value[known] = member
            note = f'is read as "{known}", as runc does; other readers ignore it'
            yield Problem(f"{pointer}/{escaped(name)}", note, f"write {quoted(known)}")
    for key, member, below in _members(value, node):
        spelled = names.get(str(key), str(key))
        yield from _respell(member, below, f"{pointer}/{escaped(spelled)}")


def drop_unknown(document: object, kind: str) -> None:
    """Remove from `document` what its schema does not know: nothing that we could act upon."""
    todo = [(document, KINDS[kind])]
    while todo:
        value, node = todo.pop()
        if isinstance(value, dict) and node[0] is checks._object:
            for name in value.keys() - node[1].keys():
                del value[name]
        todo += [(member, below) for _, member, below in _members(value, node)]


def _members(value: Any, node: checks.Node) -> Iterator[tuple[str | int, Any, checks.Node]]:  # noqa: ANN401  # JSON
    """Yield (name or index, member, its node) of what is known to stand in `value`."""
    check, *rest = node
    if isinstance(value, dict) and check is checks._object:
        for name, member in value.items():
            if name in rest[0]:
                yield name, member, rest[0][name]
    elif isinstance(value, dict) and check is checks._map:
        for name, member in value.items():
            yield name, member, rest[0]
    elif isinstance(value, list) and check is checks._list:
        for index, member in enumerate(value):
            yield index, member, rest[0]
