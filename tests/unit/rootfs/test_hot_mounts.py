"""Which mounts, and which places, a running container is refused.

Source: docs/mounts.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from ocirun.errors import SetupError, UnsupportedError
from ocirun.rootfs.context import Entry
from ocirun.rootfs.hot_mounts import refuse_late, refuse_place


def entry(destination: str = "/data", kind: str = "bind", *options: str, **more: Any) -> Entry:  # noqa: ANN401
    mount: Any = {"destination": destination, "type": kind, "source": "/x", **more}
    return Entry(mount | {"options": list(options)}, 3, "/bundle")


@pytest.mark.parametrize("word", ["remount", "copy-symlink", "tmpcopyup"])
def test_what_needs_a_root_that_nobody_uses(word: str) -> None:
    with pytest.raises(UnsupportedError, match=f"/3/options.*{word}"):
        refuse_late(entry("/data", "tmpfs", word))


@pytest.mark.parametrize("kind", ["proc", "cgroup"])
def test_proc_and_cgroup_cannot_be_added(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=f"/3/type.*{kind}"):
        refuse_late(entry("/data", kind))
    refuse_late(entry("/data", kind, "bind"))  # its type has no meaning then


def test_only_bind_mounts_are_idmapped() -> None:
    with pytest.raises(UnsupportedError, match="id-mapped"):
        refuse_late(entry("/data", "tmpfs", "idmap"))
    refuse_late(entry("/data", "bind", "bind", "idmap"))


def test_an_option_that_fsconfig_cannot_take() -> None:
    with pytest.raises(UnsupportedError, match="too long"):
        refuse_late(entry("/data", "overlay", "lowerdir=" + "x" * 300))


@pytest.mark.parametrize("place", ["/", "/proc", "/proc/sys", "/proc/self/exe"])
def test_the_root_and_proc_are_no_destinations(place: str) -> None:
    with pytest.raises(SetupError):
        refuse_place(place)
    with pytest.raises(SetupError):
        refuse_late(entry(place, "bind", "bind"))


@pytest.mark.parametrize("place", ["/proc/uptime", "/process", "/sys/fs", "/dev/x"])
def test_places_that_are_fine(place: str) -> None:
    refuse_place(place)
