"""What a config.json probably means otherwise: the warnings of `ocirun validate`.

All of it is allowed: the specification lets a runtime ignore members that it does not know, and
names of capabilities and system calls that are new to it. A slip of the pen is ignored the same
way, and the container runs less confined than its author believes. So each is named, with what
comes close.

Cold: only `validate` comes here.

Source: runtime-spec config.md#extensibility, config.md#process (capabilities), config.md#mounts;
config-linux.md#seccomp; syscalls(2); kernel include/uapi/asm-generic/unistd.h
"""

from __future__ import annotations

from ocirun.errors import Problem
from ocirun.spec import checks
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.jsontext import escaped, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any, Final

    from ocirun.spec.types import Config

    Found = Iterator[Problem]

CLOSE: Final = 0.75  # of difflib: "seccompp" for "seccomp" is 0.93, "cmd" for "cwd" 0.67

# Objects whose members have names of their own, so that one in a wrong place leads back to them.
HOMES: Final = (("process",), ("linux",), ("linux", "resources"))

# Calls of Linux 5.17 to 6.18 that a libseccomp of that time or older does not know.
RECENT_CALLS: Final = frozenset(
    (
        "cachestat", "fchmodat2", "file_getattr", "file_setattr", "futex_requeue", "futex_wait",
        "futex_wake", "getxattrat", "listmount", "listns", "listxattrat", "lsm_get_self_attr",
        "lsm_list_modules", "lsm_set_self_attr", "map_shadow_stack", "mseal", "open_tree_attr",
        "removexattrat", "set_mempolicy_home_node", "setxattrat", "statmount", "uprobe",
        "uretprobe",
    )
)  # fmt: skip


def closest(word: str, known: Collection[str]) -> str:
    """Return which of `known` comes closest to `word`, in any case; "" if none is close."""
    from difflib import get_close_matches

    by_fold = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=CLOSE)
    return by_fold[close[0]] if close else ""


def meant(word: str) -> str:
    """Return the question whether `word` was meant; none for ""."""
    return f"did you mean {quoted(word)}?" if word else ""


def unknown_members(document: object) -> list[Problem]:
    """Return a warning for each member of a config that is ignored and close to a known one.

    Members that resemble nothing are extensions, and fine.
    """
    return list(_unknown(document, checks.CONFIG, ""))


def _unknown(value: Any, node: checks.Node, pointer: str) -> Found:  # noqa: ANN401  # JSON
    check, *rest = node
    if isinstance(value, list) and check is checks._list:
        for index, member in enumerate(value):
            yield from _unknown(member, rest[0], f"{pointer}/{index}")
    elif isinstance(value, dict) and check is checks._map:
        for name, member in value.items():
            yield from _unknown(member, rest[0], f"{pointer}/{escaped(name)}")
    elif isinstance(value, dict) and check is checks._object:
        for name, member in value.items():
            where = f"{pointer}/{escaped(name)}"
            # One in another case is a finding of `respell`; its own members are looked at here.
            known = name if name in rest[0] else checks._known_as(name, rest[0])
            if known:
                yield from _unknown(member, rest[0][known], where)
            elif rest[0] and (remedy := _remedy(name, rest[0])):
                yield Problem(where, "is not a known member and is ignored", remedy)


def _remedy(name: str, members: dict[str, checks.Node]) -> str:
    """Return what `name` may be a slip of: a member of the same object, or one of another.

    Also where that member is there as well: the author may have added to the wrong one.
    """
    for home in HOMES:
        node = checks.CONFIG
        for step in home:
            node = node[1][step]
        if name in node[1] and node[1] is not members:
            return meant(f"/{'/'.join(home)}/{name}")
    return meant(closest(name, members))


def unknown_words(config: Config) -> list[Problem]:
    """Return a warning for each name in `config` that means nothing, and each relative destination.

    `config` conforms to its schema.
    """
    return [
        *_capabilities(config),
        *_destinations(config),
        *_system_calls(config),
    ]


def _capabilities(config: Config) -> Found:
    sets: dict[str, Any] = dict(config.get("process", {}).get("capabilities", {}))
    for kind in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        for index, name in enumerate(sets.get(kind, ())):
            if name not in CAPABILITIES:
                full = f"CAP_{name.upper()}"
                close = full if full in CAPABILITIES else closest(name, CAPABILITIES)
                message = f"{quoted(name)} is not a known capability and is left out"
                yield Problem(f"/process/capabilities/{kind}/{index}", message, meant(close))


def _destinations(config: Config) -> Found:
    for index, mount in enumerate(config.get("mounts", ())):
        path = mount["destination"]
        if path and not path.startswith("/"):
            message = f"{quoted(path)} is relative; it is taken from the root of the container"
            yield Problem(f"/mounts/{index}/destination", message, meant(f"/{path}"))


def _system_calls(config: Config) -> Found:
    """Names that libseccomp does not know: a rule for them is no rule."""
    from ocirun.kernel.libseccomp import UNKNOWN, Library

    rules = config.get("linux", {}).get("seccomp", {}).get("syscalls", ())
    if not rules:
        return
    try:
        library = Library()
    except FileNotFoundError as error:
        message = f"the names of system calls are not checked: {error} is not installed"
        yield Problem("/linux/seccomp/syscalls", message)
        return
    names: set[str] = set()
    for place, rule in enumerate(rules):
        for index, name in enumerate(rule["names"]):
            if library.system_call(name) != UNKNOWN:
                continue
            # A call that stays refused is nothing to warn of; one that stays allowed is.
            if name in RECENT_CALLS and rule["action"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG"):
                continue
            names = names or {*library.native_calls(), *RECENT_CALLS}
            close = "" if name in RECENT_CALLS else closest(name, names)
            message = (
                f"{quoted(name)} is not known to libseccomp {library.version()}, "
                "and the rule does not apply to it"
            )
            yield Problem(f"/linux/seccomp/syscalls/{place}/names/{index}", message, meant(close))
