"""How the program of the device rules gets onto a v2 cgroup, without a kernel."""

from __future__ import annotations

import os
from errno import EACCES, EINVAL, ENOENT, EPERM
from typing import TYPE_CHECKING

import pytest

from ocirun.cgroups import cgroup as cgroup_module
from ocirun.cgroups.v2.cgroup import CgroupV2
from ocirun.cgroups.v2.devices import apply
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unit.cgroups.conftest import FakePrograms

ALL = {"allow": True, "access": "rwm"}


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def inside_userns(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Where this ocirun believes to run: not in a user namespace, until a test changes it."""
    believed = [False]
    monkeypatch.setattr(cgroup_module, "is_in_user_namespace", lambda: believed[0])
    return believed


@pytest.mark.parametrize(
    ("old", "done"),
    [
        (0, ["attach 1"]),
        (1, ["replace 1 by 2"]),
        (2, ["attach 3", "detach 1", "detach 2"]),
    ],
)
def test_there_is_no_moment_without_a_program(
    directory: str, programs: FakePrograms, old: int, done: list[str]
) -> None:
    programs.attached = [programs.add() for _ in range(old)]
    apply(directory, {})
    assert programs.done == done
    assert programs.attached == [old + 1]


@pytest.mark.parametrize("old", [0, 1, 2])
def test_rules_that_allow_everything_need_none(
    directory: str, programs: FakePrograms, old: int
) -> None:
    programs.attached = [programs.add() for _ in range(old)]
    programs.refusals["prog_load"] = EINVAL
    apply(directory, {"devices": [ALL]})
    assert programs.attached == []


def test_everything_is_allowed_by_a_kernel_without_programs(
    directory: str, programs: FakePrograms
) -> None:
    programs.refusals["prog_query"] = EINVAL
    apply(directory, {"devices": [ALL]})
    with pytest.raises(SetupError, match=r"limiting the devices of .*: invalid argument$"):
        apply(directory, {})


def test_a_program_that_somebody_else_took_off_is_gone(
    directory: str, programs: FakePrograms
) -> None:
    programs.attached = [programs.add(), programs.add()]
    programs.refusals["prog_detach"] = ENOENT
    apply(directory, {})
    programs.refusals["prog_detach"] = EINVAL
    with pytest.raises(SetupError, match="invalid argument"):
        apply(directory, {})


def test_the_verifier_is_quoted(directory: str, programs: FakePrograms) -> None:
    programs.refusals["prog_load"] = EACCES
    programs.log = "0: first\n1: r0 = 5\nAt program exit the register R0 has no value\nprocessed 2"
    with pytest.raises(SetupError) as caught:
        apply(directory, {})
    assert str(caught.value) == (
        f"limiting the devices of {directory}: loading their eBPF program: permission denied: "
        "1: r0 = 5; At program exit the register R0 has no value; processed 2"
    )
    assert caught.value.__notes__[0] == "0: first"


@pytest.mark.parametrize(
    "function", ["prog_load", "prog_query", "prog_get_fd_by_id", "prog_attach"]
)
def test_refusals_are_told_and_nothing_is_left_open(
    directory: str, programs: FakePrograms, function: str
) -> None:
    programs.attached = [programs.add()]
    programs.refusals[function] = EPERM
    with pytest.raises(SetupError) as caught:
        apply(directory, {})
    assert str(caught.value) == f"limiting the devices of {directory}: operation not permitted"
    assert (caught.value.errno, programs.attached) == (EPERM, [1])


def test_a_cgroup_that_is_gone_is_told(directory: str) -> None:
    with pytest.raises(SetupError, match=r"gone: no such file or directory$"):
        apply(f"{directory}/gone", {})


@pytest.mark.parametrize(("rootless", "inside"), [(True, False), (False, True)])
def test_only_who_is_not_root_of_the_machine_is_forgiven(
    directory: str, programs: FakePrograms, inside_userns: list[bool], rootless: bool, inside: bool
) -> None:
    programs.refusals["prog_load"] = EPERM
    with pytest.raises(SetupError, match="operation not permitted"):
        CgroupV2({"": directory}).apply(None, userns=True)
    inside_userns[0] = inside
    cgroup = CgroupV2({"": directory}, rootless=rootless)
    cgroup.apply(None)
    programs.refusals["prog_load"] = EINVAL
    with pytest.raises(SetupError, match="invalid argument"):
        cgroup.apply(None)
