"""linux.intelRdt against a recorded resctrl tree: no machine of ours has the hardware.

`Recorded` does what the kernel does with the folders: it fills new ones and keeps what is written.
"""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import SetupError, UnsupportedError
from ocirun.kernel import mountinfo as kernel_mountinfo
from ocirun.resctrl import group as resctrl
from ocirun.resctrl.group import ResctrlGroup, join_groups, remove_groups

FULL = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


class Recorded:
    """A resctrl file system as the kernel shows it: root class, info, monitoring groups."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.writes: list[tuple[str, str]] = []
        self.fill(top)
        (top / "info").mkdir()
        (top / "info/last_cmd_status").write_text("ok\n")

    def fill(self, group: Path) -> None:
        (group / "tasks").write_text("")
        (group / "schemata").write_text(FULL)
        if group.parent.name != "mon_groups":
            (group / "mon_groups").mkdir()

    def mkdir(self, path: str) -> None:
        os.mkdir(path, 0o755)
        self.fill(Path(path))

    def rmdir(self, path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        shutil.rmtree(path)

    def write(self, path: str, text: str) -> None:
        if not os.path.exists(path):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        self.writes.append((str(Path(path).relative_to(self.top)), text))


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    top = tmp_path / "resctrl"
    top.mkdir()
    tree = Recorded(top)
    monkeypatch.setattr(resctrl, "find_resctrl", lambda: str(top))
    monkeypatch.setattr(resctrl, "make_group", tree.mkdir)
    monkeypatch.setattr(resctrl, "remove_group", tree.rmdir)
    monkeypatch.setattr(resctrl, "_write", tree.write)
    return tree


def prepared(rdt: Any) -> ResctrlGroup:
    group = ResctrlGroup("box", rdt)
    group.prepare()
    return group


def test_recorded_class_of_its_own_is_made_and_removed(recorded: Recorded) -> None:
    group = ResctrlGroup("box", {})
    assert group.missing() == [str(recorded.top / "box")]
    group.prepare()
    group.join(4711)
    group.apply()
    assert recorded.writes == [("box/tasks", "4711")]  # without a schema none is written
    assert group.made == [str(recorded.top / "box")]
    remove_groups(group.made)
    assert not (recorded.top / "box").exists()
    remove_groups(group.made)  # gone already


def test_recorded_class_that_is_there_is_used_and_stays(recorded: Recorded) -> None:
    recorded.mkdir(str(recorded.top / "gold"))
    group = prepared({"closID": "gold"})
    group.join(1)
    assert group.made == group.missing() == []
    assert recorded.writes == [("gold/tasks", "1")]
    group.undo()
    assert (recorded.top / "gold").is_dir()


def test_recorded_class_without_a_schema_must_be_there(recorded: Recorded) -> None:
    with pytest.raises(SetupError, match='clos_id "gold" is not there'):
        prepared({"closID": "gold"})
    assert not (recorded.top / "gold").exists()


def test_recorded_class_of_a_name_is_made_with_a_schema_and_stays(recorded: Recorded) -> None:
    """Others may share it by the time the container is deleted."""
    group = prepared({"closID": "gold", "l3CacheSchema": "L3:0=f;1=f", "enableMonitoring": True})
    assert group.made == [str(recorded.top / "gold/mon_groups/box")]
    remove_groups(group.made)
    assert (recorded.top / "gold").is_dir()
    assert not (recorded.top / "gold/mon_groups/box").exists()


def test_recorded_class_of_a_name_goes_when_create_fails(recorded: Recorded) -> None:
    group = prepared({"closID": "gold", "l3CacheSchema": "L3:0=f;1=f", "enableMonitoring": True})
    group.undo()
    assert not (recorded.top / "gold").exists()


def test_recorded_root_class(recorded: Recorded) -> None:
    group = prepared({"closID": "/", "enableMonitoring": True})
    group.join(9)
    assert recorded.writes == [("tasks", "9"), ("mon_groups/box/tasks", "9")]
    group.undo()
    assert (recorded.top / "tasks").exists()
    assert not (recorded.top / "mon_groups/box").exists()


def test_recorded_schemata_are_written_in_the_order_of_the_specification(
    recorded: Recorded,
) -> None:
    group = prepared(
        {
            "l3CacheSchema": "L3:0=f\nMB:0=10\nL3CODE:1=3",
            "memBwSchema": "MB:0=20",
            "schemata": ["L2:0=1", "MB:1=30"],
        }
    )
    group.apply()
    assert recorded.writes == [
        ("box/schemata", "L3:0=f\nL3CODE:1=3\nMB:0=20\n"),
        ("box/schemata", "L2:0=1\nMB:1=30\n"),
    ]


@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "L3:0=7ff;1=7ff"},
        {"l3CacheSchema": "L3:1=7FF"},
        {"l3CacheSchema": "L3:0=07ff"},
        {"memBwSchema": "MB:0=100;1=100"},
        {"l3CacheSchema": "L3:0=7ff", "memBwSchema": "MB:1=100"},
        {"schemata": ["L3:0=1"]},  # the specification compares the other two only
    ],
)
def test_recorded_class_that_is_there_with_these_values_is_used(
    recorded: Recorded, rdt: Any
) -> None:
    recorded.mkdir(str(recorded.top / "gold"))
    assert prepared({"closID": "gold", **rdt}).made == []


@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "L3:0=7fe"},
        {"l3CacheSchema": "L3:2=7ff"},
        {"l3CacheSchema": "L2:0=f"},
        {"memBwSchema": "MB:0=90"},
        {"l3CacheSchema": "L3:0=7ff", "memBwSchema": "MB:0=90"},
    ],
)
def test_recorded_class_that_is_there_with_other_values_is_refused(
    recorded: Recorded, rdt: Any
) -> None:
    recorded.mkdir(str(recorded.top / "gold"))
    with pytest.raises(SetupError, match='clos_id "gold" is there with another'):
        prepared({"closID": "gold", **rdt})
    assert (recorded.top / "gold").is_dir()


def test_recorded_monitoring_group_of_a_class_that_stays(recorded: Recorded) -> None:
    recorded.mkdir(str(recorded.top / "gold"))
    group = ResctrlGroup("box", {"closID": "gold", "enableMonitoring": True})
    assert group.missing() == [str(recorded.top / "gold/mon_groups/box")]
    group.prepare()
    group.join(5)
    assert recorded.writes == [("gold/tasks", "5"), ("gold/mon_groups/box/tasks", "5")]
    group.undo()
    assert (recorded.top / "gold").is_dir()
    assert not (recorded.top / "gold/mon_groups/box").exists()


def test_recorded_monitoring_group_goes_before_its_class(recorded: Recorded) -> None:
    group = prepared({"enableMonitoring": True})
    assert group.made == [str(recorded.top / "box"), str(recorded.top / "box/mon_groups/box")]
    group.undo()
    assert not (recorded.top / "box").exists()


def test_a_refusal_comes_with_the_kernels_last_words(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = prepared({"memBwSchema": "MB:0=1000"})
    (recorded.top / "info/last_cmd_status").write_text("MB value 1000 out of range\n")

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(resctrl, "_write", refuse)
    for act in (group.apply, lambda: group.join(1), lambda: join_groups([group.path, ""], 1)):
        with pytest.raises(SetupError, match=r"invalid argument \(MB value 1000 out of range\)$"):
            act()


def test_no_class_left(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (recorded.top / "info/last_cmd_status").write_text("Out of CLOSIDs\n")
    monkeypatch.setattr(resctrl, "make_group", refuse)
    with pytest.raises(SetupError, match=r"no space left on device \(Out of CLOSIDs\)"):
        prepared({})


def test_a_group_the_kernel_keeps_is_an_error(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = prepared({})

    def refuse(_: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(resctrl, "remove_group", refuse)
    with pytest.raises(SetupError, match="box: device or resource busy"):
        group.undo()
    assert recorded.writes == []


class TestFinding:
    """Where resctrl is mounted."""

    def test_its_mount_point(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mountinfo = tmp_path / "mountinfo"
        mountinfo.write_text(
            "20 1 0:5 / /sys rw shared:7 - sysfs resctrl rw\n"
            "21 20 0:6 / /sys/fs/res\\040ctrl rw,relatime shared:8 - resctrl none rw,cdp\n"
        )
        monkeypatch.setattr(kernel_mountinfo, "OWN_TABLE", str(mountinfo))
        assert resctrl.find_resctrl() == "/sys/fs/res ctrl"
        assert ResctrlGroup("box", {}).path == "/sys/fs/res ctrl/box"

    def test_nothing_is_unsupported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mountinfo = tmp_path / "mountinfo"
        mountinfo.write_text("20 1 0:5 / /sys rw shared:7 - sysfs sysfs rw\n")
        monkeypatch.setattr(kernel_mountinfo, "OWN_TABLE", str(mountinfo))
        with pytest.raises(UnsupportedError, match="no resctrl file system is mounted"):
            ResctrlGroup("box", {})
