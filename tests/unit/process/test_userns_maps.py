"""Maps of user namespaces: which are written directly, which by newuidmap, and in what order.

/proc is replaced by functions that remember what was written; the kernel's answers are tested in
tests/integration/test_userns.py and test_rootless.py.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import SetupError, SpecError
from ocirun.process import userns_maps

ONE = [{"containerID": 0, "hostID": 1000, "size": 1}]
TWO = [
    {"containerID": 0, "hostID": 100000, "size": 1000},
    {"containerID": 1000, "hostID": 200000, "size": 64536},
]


class Written(list[tuple[Any, ...]]):
    """What write_id_maps did, in its order."""


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    found = Written()
    monkeypatch.setattr(
        userns_maps, "_write", lambda pid, name, text: found.append((pid, name, text))
    )
    monkeypatch.setattr(
        userns_maps, "_run_helper", lambda name, pid, numbers: found.append((name, pid, *numbers))
    )
    return found


def be(monkeypatch: pytest.MonkeyPatch, uid: int, gid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os, "getegid", lambda: gid)


def test_root_writes_both_files_gids_first(
    monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    be(monkeypatch, 0, 0)
    userns_maps.write_id_maps(42, TWO, ONE)
    assert written == [
        (42, "gid_map", "0 1000 1"),
        (42, "uid_map", "0 100000 1000\n1000 200000 64536"),
    ]


def test_a_user_who_maps_only_themselves_needs_no_helper(
    monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    """And setgroups is denied before (CVE-2014-8989)."""
    be(monkeypatch, 1000, 1000)
    userns_maps.write_id_maps(42, ONE, ONE)
    assert written == [
        (42, "setgroups", "deny"),
        (42, "gid_map", "0 1000 1"),
        (42, "uid_map", "0 1000 1"),
    ]


def test_several_ids_of_a_user_go_through_the_helpers(
    monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    """Which deny setgroups themselves where they must."""
    be(monkeypatch, 1000, 1000)
    userns_maps.write_id_maps(42, TWO, TWO)
    numbers = ("0", "100000", "1000", "1000", "200000", "64536")
    assert written == [("newgidmap", 42, *numbers), ("newuidmap", 42, *numbers)]


def test_uids_and_gids_are_decided_apart(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    be(monkeypatch, 1000, 1000)
    userns_maps.write_id_maps(42, ONE, TWO)
    assert [entry[:2] for entry in written] == [("newgidmap", 42), (42, "uid_map")]


@pytest.mark.parametrize(
    "mappings",
    [
        [],
        [*ONE, *ONE],
        [{"containerID": 0, "hostID": 1000, "size": 2}],
        [{"containerID": 0, "hostID": 1001, "size": 1}],
    ],
)
def test_only_one_entry_with_ones_own_id_maps_only_the_caller(mappings: list[Any]) -> None:
    assert not userns_maps.maps_only(mappings, 1000)


@pytest.mark.parametrize("container_id", [0, 1000, 65534])
def test_it_does_not_matter_who_the_caller_is_inside(container_id: int) -> None:
    mappings: Any = [{"containerID": container_id, "hostID": 1000, "size": 1}]
    assert userns_maps.maps_only(mappings, 1000)


def test_a_refused_map_names_the_file_and_the_kernels_words() -> None:
    with pytest.raises(SetupError, match=r"^writing /proc/0/uid_map: no such file or directory$"):
        userns_maps._write(0, "uid_map", "0 0 1")


# --- the helpers ----------------------------------------------------------------------------------


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_helper_gets_the_pid_and_three_numbers_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "newuidmap", f'echo "$@" > {tmp_path}/said')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    userns_maps._run_helper("newuidmap", 42, ["0", "1000", "1"])
    assert (tmp_path / "said").read_text() == "42 0 1000 1\n"


@pytest.mark.parametrize(("name", "file"), [("newuidmap", "subuid"), ("newgidmap", "subgid")])
def test_a_helper_that_refuses_is_an_error_that_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str
) -> None:
    program(tmp_path / "bin", name, "exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(SetupError) as caught:
        userns_maps._run_helper(name, 42, ["0", "1000", "1"])
    assert f"{name} refused the map 0 1000 1 (exit status 3)" in str(caught.value)
    assert f"/etc/{file} must allow it" in str(caught.value)


@pytest.mark.parametrize("path", ["", "/nowhere:", "."])
def test_a_missing_helper_is_an_error_that_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Neither an empty folder nor a relative one is looked into: it would run what lies there."""
    program(tmp_path, "newuidmap", f"touch {tmp_path}/ran")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(SetupError, match=r"newuidmap.*package uidmap"):
        userns_maps._run_helper("newuidmap", 42, ["0", "1000", "1"])
    assert not (tmp_path / "ran").exists()


# --- a namespace to be joined ---------------------------------------------------------------------


@pytest.fixture
def maps(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, ...]]]:
    """The maps that the namespace to be joined has, to be changed by the test."""
    there = {"uid": [(0, 1000, 1)], "gid": [(0, 1000, 1)]}

    class Holder:
        pid = 42

        def __init__(self, fd: int) -> None:
            assert fd == 7

        def __enter__(self) -> Holder:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr("ocirun.kernel.userns.UserNamespaceHolder", Holder)
    monkeypatch.setattr(
        userns_maps, "_read_map", lambda pid, kind: there[kind] if pid == 42 else []
    )
    return there


@pytest.mark.usefixtures("maps")
def test_equal_maps_may_stand_beside_a_path() -> None:
    userns_maps.check_joined_maps({"linux": {"uidMappings": ONE, "gidMappings": ONE}}, 7)  # type: ignore[typeddict-item]


def test_the_order_of_entries_does_not_matter(maps: dict[str, Any]) -> None:
    maps["uid"] = [(1000, 200000, 64536), (0, 100000, 1000)]
    assert userns_maps.has_maps(7, TWO, ONE)


def test_no_maps_are_not_compared(maps: dict[str, Any]) -> None:
    maps["uid"] = [(5, 5, 5)]
    userns_maps.check_joined_maps({"linux": {}}, 7)  # type: ignore[typeddict-item]
    userns_maps.check_joined_maps({}, 7)  # type: ignore[typeddict-item]


@pytest.mark.parametrize("kind", ["uid", "gid"])
def test_other_maps_than_those_of_the_namespace_are_refused(
    maps: dict[str, Any], kind: str
) -> None:
    maps[kind] = [(0, 1001, 1)]
    with pytest.raises(SpecError, match="non-matching mapping") as caught:
        userns_maps.check_joined_maps({"linux": {"uidMappings": ONE, "gidMappings": ONE}}, 7)  # type: ignore[typeddict-item]
    assert caught.value.problems[0].pointer == "/linux/uidMappings"
    assert caught.value.problems[0].remedy


@pytest.mark.parametrize("only", ["uidMappings", "gidMappings"])
@pytest.mark.usefixtures("maps")
def test_one_of_both_maps_is_compared_as_well(only: str) -> None:
    """The other one is then none, which the namespace has not."""
    with pytest.raises(SpecError):
        userns_maps.check_joined_maps({"linux": {only: ONE}}, 7)  # type: ignore[typeddict-item,misc]


def test_our_own_map_is_read_as_numbers() -> None:
    rows = userns_maps._read_map(os.getpid(), "uid")
    assert rows
    assert all(len(row) == 3 and all(type(number) is int for number in row) for row in rows)


def test_a_kernel_without_user_namespaces_is_an_error_that_says_what_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refused:
        def __enter__(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr("ocirun.kernel.userns.UserNamespaceHolder", Refused)
    words = "^making a user namespace for its id maps: no space left on device$"
    with pytest.raises(SetupError, match=words) as caught:
        userns_maps.make_user_namespace(ONE, ONE)  # type: ignore[arg-type]
    assert caught.value.errno == errno.ENOSPC


def test_the_maps_of_a_new_user_namespace_are_those_of_the_config() -> None:
    mappings = {
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 10}],
        "gidMappings": [{"containerID": 5, "hostID": 200000, "size": 1}],
    }
    config: Any = {"linux": mappings}
    assert userns_maps.read_maps(config, -1) == ([(0, 100000, 10)], [(5, 200000, 1)])
    assert userns_maps.read_maps({"linux": {}}, -1) == ([], [])  # type: ignore[typeddict-item]  # a part


@pytest.mark.parametrize(
    ("inside", "outside"), [(0, 100), (9, 109), (10, -1), (20, 300), (21, -1), (19, -1)]
)
def test_an_id_is_mapped_from_the_first_to_the_last_of_its_row(inside: int, outside: int) -> None:
    assert userns_maps.id_on_host([(0, 100, 10), (20, 300, 1)], inside) == outside
