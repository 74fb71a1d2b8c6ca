"""Which namespaces are made and joined by whom. Source: ocirun/process/namespaces.py."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ocirun.errors import SetupError, SpecError
from ocirun.kernel.process import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
)
from ocirun.process import namespaces
from ocirun.process.namespaces import FLAGS, Namespaces, join_namespaces


def of(**kinds: str) -> Namespaces:
    entries: list[Any] = [
        {"type": kind, **({"path": path} if path else {})} for kind, path in kinds.items()
    ]
    return Namespaces({"linux": {"namespaces": entries}})  # type: ignore[typeddict-item]


def test_new_and_joined_are_told_apart() -> None:
    found = of(pid="", network="/n", user="")
    assert found.new == {"pid", "user"}
    assert found.paths == {"network": "/n"}
    assert found.has("network")
    assert not found.has("mount")


def test_cgroup_and_time_are_not_made_by_clone() -> None:
    flags = of(**dict.fromkeys(FLAGS, "")).clone_flags
    assert flags & (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWNET)
    assert not flags & (CLONE_NEWCGROUP | CLONE_NEWTIME)


@pytest.mark.parametrize(
    ("kinds", "needed"),
    [
        ({"pid": "", "user": "", "mount": ""}, False),
        ({"network": "/n", "ipc": "/i", "mount": "/m", "time": "/t"}, False),
        ({"pid": "/p"}, True),
        ({"user": "/u"}, True),
        ({"time": ""}, True),
        ({"user": "", "network": "/n"}, True),
    ],
)
def test_when_a_stage_is_needed(kinds: dict[str, str], *, needed: bool) -> None:
    assert of(**kinds).need_stage is needed


def test_what_is_no_namespace_is_refused_with_its_place() -> None:
    found = of(pid="", network="/etc/passwd")
    with pytest.raises(SpecError, match="not a namespace") as refusal:
        found.open()
    assert refusal.value.problems[0].pointer == "/linux/namespaces/1/path"
    found.close()
    assert found.fds == {}


class Kernel:
    """Records setns; refuses what is in `closed` until the user namespace is entered."""

    def __init__(self, *closed: str) -> None:
        self.joined: list[str] = []
        self.closed = closed

    def setns(self, _: int, flag: int) -> None:
        kind = next(kind for kind, value in FLAGS.items() if value == flag)
        if kind in self.closed and "user" not in self.joined:
            raise PermissionError(1, "no")
        self.joined.append(kind)


def join(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, *kinds: str) -> list[str]:
    monkeypatch.setattr(namespaces, "setns", kernel.setns)
    join_namespaces({kind: os.open("/dev/null", os.O_RDONLY) for kind in kinds})
    return kernel.joined


def test_the_mount_namespace_is_joined_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert join(monkeypatch, Kernel(), "mount", "uts", "network") == ["network", "uts", "mount"]


def test_what_the_host_owns_comes_before_the_user_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel("network")
    joined = join(monkeypatch, kernel, "network", "user", "ipc", "mount")
    assert joined == ["ipc", "mount", "user", "network"]


def test_another_refusal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(namespaces, "setns", refuse)
    with pytest.raises(SetupError, match="joining the pid namespace: invalid argument"):
        join_namespaces({"pid": 0, "user": 0})
