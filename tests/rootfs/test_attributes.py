"""Mount options: runtime-spec config.md#mounts and config-linux.md, options."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from harness.inside import (
    TMPFS,
    mounted,
    without_master,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"rw", "relatime"}),
        (["nosuid", "nodev", "noexec"], {"rw", "nosuid", "nodev", "noexec", "relatime"}),
        (["noatime", "nodiratime"], {"rw", "noatime", "nodiratime"}),
        (["strictatime"], {"rw"}),
        (["noatime", "relatime"], {"rw", "noatime"}),
        (["nosuid", "suid", "nosymfollow"], {"rw", "relatime", "nosymfollow"}),
        (["rnosuid", "rnoatime"], {"rw", "nosuid", "noatime"}),
        (["rro"], {"ro", "relatime"}),
        (["sync", "dirsync"], {"rw", "relatime"}),
    ],
)
def test_the_words_of_a_new_file_system(root: Path, options: list[str], expected: set[str]) -> None:
    found = mounted(root, {**TMPFS, "options": options}, at="/t")
    assert set(found["options"]) == expected
    assert set(options) & {"sync", "dirsync"} <= set(found["super"])


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        (["nosuid", "nodev", "noatime"], [], {"rw", "nosuid", "nodev", "noatime"}),
        (["nosuid", "nodev", "noatime"], ["ro"], {"ro", "noatime"}),
        (["nosuid", "nodev"], ["nosuid", "rw"], {"rw", "nosuid", "relatime"}),
        (["noexec"], ["exec"], {"rw", "relatime"}),
        (["noexec"], ["rnosuid"], {"rw", "noexec", "nosuid", "relatime"}),
        (["noatime"], ["strictatime"], {"rw"}),
        ([], ["rro"], {"ro", "relatime"}),
        ([], ["ro", "mode=755", "sync"], {"ro", "relatime"}),
    ],
)
def test_the_words_of_a_bind_mount(
    root: Path, source: list[str], options: list[str], expected: set[str]
) -> None:
    """Without words the source's attributes stay; with some it has just those, as with runc."""
    origin = {**TMPFS, "options": source}
    bind = {"destination": "/b", "source": f"{root}/t", "options": ["bind", *options]}
    assert set(mounted(root, origin, bind, at="/b")["options"]) == expected


def test_ro_is_for_the_mount_and_rro_for_all_below(root: Path) -> None:
    below = {"destination": "/t/below", "type": "tmpfs", "source": "tmpfs"}
    for word, top, sub in (("ro", "ro", "rw"), ("rro", "ro", "ro"), ("rw", "rw", "rw")):
        bind = {"destination": "/b", "source": f"{root}/t", "options": ["rbind", word]}
        assert top in mounted(root, TMPFS, below, bind, at="/b")["options"]
        assert sub in mounted(root, TMPFS, below, bind, at="/b/below")["options"]
    bind = {"destination": "/b", "source": f"{root}/t", "options": ["bind"]}
    with pytest.raises(Exception, match="KeyError"):
        mounted(root, TMPFS, below, bind, at="/b/below")


@pytest.mark.parametrize(
    ("words", "optional"),
    [
        ([], ""),
        (["shared"], r"shared:\d+"),
        (["shared", "slave"], ""),
        (["rshared"], r"shared:\d+"),
        (["unbindable"], "unbindable"),
        (["rprivate"], ""),
    ],
)
def test_each_mount_has_its_own_propagation(root: Path, words: list[str], optional: str) -> None:
    for entry in (
        {**TMPFS, "options": words},
        {"destination": "/t", "source": "/etc", "options": ["rbind", *words]},
    ):
        found = mounted(root, entry, at="/t")["optional"]
        assert re.fullmatch(optional, found if "rprivate" in words else without_master(found))
