"""What a configuration must not ask for without root.

    one id        the caller's own, written by the caller
    several ids   written by newuidmap and newgidmap, which ask /etc/subuid and /etc/subgid

Said before anything is made, and in runc's words where callers know them: the kernel's own refusal
would come late and name no property.

Source: docs/runc-compat/rootless.md; user_namespaces(7).
"""

from __future__ import annotations

import os

from ocirun.errors import Problem, SpecError
from ocirun.process.userns_maps import maps_only

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ocirun.spec.types import Config, IDMapping

    Found = Iterator[Problem]


def check_rootless(config: Config) -> None:
    """Refuse what an ordinary user cannot have.

    Raises:
        SpecError: with each such property.
    """
    problems = [problem for rule in RULES for problem in rule(config)]
    if problems:
        raise SpecError(problems)


def has_a_user_namespace(config: Config) -> Found:
    """Without one of its own the kernel allows no other namespace either."""
    kinds = [entry["type"] for entry in config.get("linux", {}).get("namespaces", ())]
    if "user" not in kinds:
        yield Problem(
            "/linux/namespaces",
            "rootless container requires user namespaces",
            'add {"type": "user"} with maps, as `ocirun spec --rootless` does',
        )


def has_no_groups(config: Config) -> Found:
    """Security: CVE-2014-8989. Groups may be what keeps the caller from a file."""
    if config["process"].get("user", {}).get("additionalGids"):
        yield Problem(
            "/process/user/additionalGids",
            "cannot set any additional groups in a rootless container",
        )


def user_is_mapped(config: Config) -> Found:
    """An id without a place in the map cannot be taken."""
    user = config["process"].get("user", {})
    for kind, pointer in (("uid", "/process/user/uid"), ("gid", "/process/user/gid")):
        mappings = _mappings(config, kind)
        number = int(str(user.get(kind, 0)))
        if mappings and not _has(mappings, number):
            message = f"cannot set{kind} to unmapped {kind} {number} in user namespace"
            yield Problem(pointer, message)


def mount_owners_are_mapped(config: Config) -> Found:
    """uid= and gid= of a file system name ids inside."""
    for index, mount in enumerate(config.get("mounts") or ()):
        for option in mount.get("options") or ():
            kind, equals, number = option.partition("=")
            if not equals or kind not in ("uid", "gid") or not number.isdecimal():
                continue
            mappings = _mappings(config, kind)
            if mappings and not _has(mappings, int(number)):
                yield Problem(
                    f"/mounts/{index}/options",
                    f"cannot specify {option} for an unmapped {kind} in a rootless container",
                )


def single_map_is_the_callers(config: Config) -> Found:
    """One id needs no helper, but then it is the caller's: anybody else's is refused by all."""
    for kind, own in (("uid", os.geteuid()), ("gid", os.getegid())):
        mappings = _mappings(config, kind)
        for index, entry in enumerate(mappings):
            if entry["hostID"] == 0 and entry["size"] and not maps_only(mappings, own):
                where = f"/linux/{kind}Mappings/{index}"
                yield Problem(where, f"host {kind} 0 cannot be mapped by {kind} {own}")


def _mappings(config: Config, kind: str) -> list[IDMapping]:
    linux = config.get("linux", {})
    return (linux.get("uidMappings") if kind == "uid" else linux.get("gidMappings")) or []


def _has(mappings: list[IDMapping], number: int) -> bool:
    return any(m["containerID"] <= number < m["containerID"] + m["size"] for m in mappings)


RULES: Final = (
    has_a_user_namespace,
    has_no_groups,
    user_is_mapped,
    mount_owners_are_mapped,
    single_map_is_the_callers,
)
