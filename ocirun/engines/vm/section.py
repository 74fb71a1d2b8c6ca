"""The section `vm` of config.json: what its members have to be.

schemas/ has only its outline, because native containers ignore it.

Source: docs/vm.md#configuration.
"""

from __future__ import annotations

from ocirun.errors import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

# QEMU's names of the formats of an image.
FORMATS: Final = {"raw": "raw", "qcow2": "qcow2", "vdi": "vdi", "vmdk": "vmdk", "vhd": "vpc"}
FORMAT: Final = "one of raw, qcow2, vdi, vmdk and vhd"
PATH, WORDS, COUNT, ANY = "an absolute path", "an array of strings", "a positive number", ""
MEMBERS: Final = {
    "hypervisor": {"path": PATH, "parameters": WORDS},
    "kernel": {"path": PATH, "parameters": WORDS, "initrd": PATH},
    "image": {"path": PATH, "format": FORMAT},
    "hwConfig": {
        "deviceTree": ANY,
        "vcpus": COUNT,
        "memory": COUNT,
        "dtdevs": ANY,
        "iomems": ANY,
        "irqs": ANY,
    },
}


def wrong_section(section: object) -> Iterator[Problem]:
    """Yield what is wrong with the section."""
    if not isinstance(section, dict):
        yield Problem("/vm", "is no object")
        return
    for name, members in section.items():
        known = MEMBERS.get(name)
        if known is None:
            yield Problem(f"/vm/{name}", "is not a member of the section")
        elif not isinstance(members, dict):
            yield Problem(f"/vm/{name}", "is no object")
        else:
            for member, value in members.items():
                pointer = f"/vm/{name}/{member}"
                if member not in known:
                    yield Problem(pointer, "is not a member of the section")
                elif not _is(value, known[member]):
                    yield Problem(pointer, f"is not {known[member]}")
    for name in MEMBERS["image"] if isinstance(section.get("image"), dict) else ():
        if name not in section["image"]:
            yield Problem(f"/vm/image/{name}", "is missing")


def _is(value: object, kind: str) -> bool:
    if kind == PATH:
        return isinstance(value, str) and value.startswith("/")
    if kind == WORDS:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if kind == FORMAT:
        return isinstance(value, str) and value in FORMATS
    if kind == COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    return True
