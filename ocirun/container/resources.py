"""What an update makes of a container's resources: plain dicts, no kernel.

    in force ── with_given ──► in force afterwards, which is what is remembered
       │             │
       │           given ──── to_write ──► what is written to the cgroup now
       └─ to_restore ──────────────────► what is written back when one of that is refused

What the caller leaves out stays as it is, and a 0 that the specification reads as "not set" is
left out. Only what is given is written, with its other half where the kernel takes two values
together: so an update does not touch files that others have changed since.

Source: runtime-spec config-linux.md#control-groups; docs/runc-compat/cli.md#update,
docs/runc-compat/cgroups.md#conversion-of-resources.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.spec.types import Resources

    Section = dict[str, Any]

# Where 0 (for cpus and mems, the empty text) is "not set".
UNSET_ZEROS: Final = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": (
        *("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"),
        *("cpus", "mems"),
    ),
    "blockIO": ("weight", "leafWeight"),
    "network": ("classID",),
}
# Lists whose entries are about one thing each, and the members that say which.
IDENTITIES: Final = {
    "blockIO": ("major", "minor"),
    "hugepageLimits": ("pageSize",),
    "network": ("name",),
}
# What is written together, as soon as one of it is given.
HALVES: Final = {
    "memory": (("limit", "swap", "checkBeforeUpdate"),),
    "cpu": (("quota", "period"), ("realtimeRuntime", "realtimePeriod")),
}
# What a new cgroup has, to take back what was not limited before. Nothing stands here for what
# it has from its parent.
FRESH: Final[dict[str, Section]] = {
    "memory": {"limit": -1, "swap": -1, "kernelTCP": -1, "disableOOMKiller": False},
    "cpu": {"shares": 1024, "quota": -1, "period": 100_000, "burst": 0, "idle": 0},
    "pids": {"limit": -1},
}


def given_part(document: Resources) -> dict[str, Any]:
    """Leave out of what the caller gave all that says nothing, and the rules of devices.

    Spec: an update changes limits; what a running container may do with devices stays.
    """
    given: dict[str, Any] = {}
    for name, value in document.items():
        if name == "devices":
            continue
        if name in UNSET_ZEROS:
            zeros = UNSET_ZEROS[name]
            value = {  # noqa: PLW2901  # the same section, shorter
                key: member
                for key, member in value.items()  # type: ignore[attr-defined]  # a section
                if member or key not in zeros
            }
        if value:
            given[name] = value
    return given


def with_given(now: Resources, given: dict[str, Any]) -> Resources:
    """Return the resources in force once `given` is applied; neither of the two is changed."""
    merged: dict[str, Any] = {**now}
    for name, value in given.items():
        merged[name] = _merged(merged.get(name), value, IDENTITIES.get(name, ()))
    memory, cpu = given.get("memory", {}), given.get("cpu", {})
    if memory.get("limit") == -1 and "swap" not in memory:
        # Kernel: without a limit on memory there can be none on memory and swap together.
        merged["memory"].pop("swap", None)
    if "idle" in cpu and "shares" not in cpu:
        merged["cpu"].pop("shares", None)
    return merged  # type: ignore[return-value]  # of the same sections


def _merged(now: Any, given: Any, identity: tuple[str, ...]) -> Any:  # noqa: ANN401  # JSON
    """Merge one value: members by name, entries of a list by `identity`, the rest replaced."""
    if isinstance(given, dict):
        merged = dict(now or {})
        for key, member in given.items():
            merged[key] = _merged(merged.get(key), member, identity)
        return merged
    if not isinstance(given, list) or not identity:
        return given
    entries = {_key(entry, identity): entry for entry in now or ()}
    for entry in given:
        key = _key(entry, identity)
        entries[key] = {**entries.get(key, {}), **entry}
    return list(entries.values())


def _key(entry: Section, identity: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(entry[member] for member in identity)


def to_write(given: dict[str, Any], merged: Resources) -> Resources:
    """Return what an update writes: `given`, with its other halves from what is `merged`."""
    writes: dict[str, Any] = {}
    for name, value in given.items():
        writes[name] = value
        for halves in HALVES.get(name, ()):
            if any(key in value for key in halves):
                others = {key: merged[name][key] for key in halves if key in merged[name]}  # type: ignore[literal-required]
                writes[name] = {**writes[name], **others}
    return writes  # type: ignore[return-value]  # of the same sections


def to_restore(writes: Resources, before: Resources) -> Resources:
    """Return what undoes `writes`: what was in force `before`, else what a new cgroup has."""
    restored: dict[str, Any] = {}
    for name, value in writes.items():
        old = before.get(name)
        identity = IDENTITIES.get(name, ())
        if isinstance(value, list):
            part: Any = _old_entries(value, old, identity)
        else:
            part = {}
            for key, member in value.items():  # type: ignore[attr-defined]  # a section
                found = (old or {}).get(key, FRESH.get(name, {}).get(key))  # type: ignore[attr-defined]  # the same
                if isinstance(member, list):
                    found = _old_entries(member, found, identity)
                if found is not None:
                    part[key] = found
        if part:
            restored[name] = part
    return restored  # type: ignore[return-value]  # of the same sections


def _old_entries(written: list[Section], old: Any, identity: tuple[str, ...]) -> list[Section]:  # noqa: ANN401  # JSON
    """Return the entries that were there; a rate that was not becomes none (0)."""
    known = {_key(entry, identity): entry for entry in old or ()}
    entries = []
    for entry in written:
        key = _key(entry, identity)
        if key in known:
            entries.append(known[key])
        elif "rate" in entry:
            entries.append({**entry, "rate": 0})
    return entries
