"""What Landlock is asked for, by the annotations and the kernel's ABI; and that nobody else pays.

Source: docs/landlock.md; landlock(7).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

import pytest
from unit.test_import_budget import modules_added_by

from ocirun.errors import UnsupportedError
from ocirun.kernel import landlock as kernel
from ocirun.security.landlock import prepare

PREFIX = "org.ocirun.landlock."


def asked(monkeypatch: pytest.MonkeyPatch, abi: int, **annotations: str) -> dict[str, Any]:
    monkeypatch.setattr(kernel, "abi", lambda: abi)
    named = {PREFIX + name.replace("_", "-"): value for name, value in annotations.items()}
    return prepare({"annotations": named})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("name", "value", "needed", "release"),
    [
        ("read_only", '["/"]', 3, "6.2"),
        ("read_write", "[]", 3, "6.2"),
        ("execute", "[]", 3, "6.2"),
        ("tcp_bind", "[80]", 4, "6.7"),
        ("tcp_connect", "[]", 4, "6.7"),
        ("scope", '["signals"]', 6, "6.12"),
    ],
)
def test_a_kernel_without_what_is_asked_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, needed: int, release: str
) -> None:
    with pytest.raises(UnsupportedError) as info:
        asked(monkeypatch, needed - 1, **{name: value})
    words = str(info.value)
    assert f"needs Landlock ABI {needed}, and this kernel has ABI {needed - 1}" in words
    assert f"Linux {release} has it" in words
    with pytest.raises(UnsupportedError, match="this kernel has no Landlock"):
        asked(monkeypatch, 0, **{name: value})
    asked(monkeypatch, needed, **{name: value})


def test_only_what_is_named_is_confined(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = asked(monkeypatch, 7, tcp_connect="[1, 2]")
    assert (ports["fs"], ports["net"], ports["scoped"]) == (0, 2, 0)
    assert ports["ports"] == [(1, 2), (2, 2)]
    files = asked(monkeypatch, 7, read_only='["/a"]', execute='["/b"]')
    assert (files["fs"], files["net"]) == (0xFFFF, 0)
    assert files["paths"] == [("/a", "read-only", 0xC), ("/b", "execute", 0xD)]
    # Linux before 6.10 knows nothing of ioctl on devices.
    assert asked(monkeypatch, 4, read_write='["/a"]')["fs"] == 0x7FFF
    assert asked(monkeypatch, 7, scope='["signals"]')["scoped"] == 2
    assert asked(monkeypatch, 7, scope="[]")["scoped"] == 0


@pytest.mark.skipif(kernel.abi() < 6, reason="this kernel has no Landlock scopes")
def test_abstract_sockets_of_others_are_refused() -> None:
    name = f"\0ocirun-landlock-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            number = 99
            try:
                from ocirun.kernel.prctl import set_no_new_privs

                set_no_new_privs()
                fd = kernel.create_ruleset(0, 0, kernel.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
                kernel.restrict_self(fd)
                with socket.socket(socket.AF_UNIX) as own:
                    own.connect(name)
                number = 0
            except OSError as error:
                number = error.errno or 98
            finally:
                os.write(writing, struct.pack("=i", number))
                os._exit(0)
        os.waitpid(child, 0)
        assert struct.unpack("=i", os.read(reading, 4)) == (1,)  # EPERM
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("verb", ["create", "run", "exec", "start"])
def test_a_container_without_the_annotations_loads_none_of_it(verb: str) -> None:
    added = modules_added_by("ocirun.cli.launcher", f"ocirun.cli.commands.{verb}")
    assert not [name for name in added if "landlock" in name]
