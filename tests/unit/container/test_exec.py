"""What exec inherits, and which cgroup it means."""

from __future__ import annotations

from typing import Any

import pytest
from harness.records import new_record

from ocirun.container.inherited_process import config_with
from ocirun.container.record import Record
from ocirun.container.subcgroup import cgroup_below, cgroup_of_init, parse_words
from ocirun.errors import SetupError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

OWN: dict[str, Any] = {
    "args": ["own"],
    "cwd": "/own",
    "env": ["OWN=1"],
    "terminal": True,
    "user": {"uid": 5, "gid": 6, "umask": 0o27, "additionalGids": [7]},
    "noNewPrivileges": True,
    "apparmorProfile": "own",
    "selinuxLabel": "own",
    "capabilities": {"bounding": ["CAP_KILL"]},
    "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}],
    "oomScoreAdj": 5,
    "scheduler": {"policy": "SCHED_BATCH"},
    "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
    "execCPUAffinity": {"final": "0"},
}
INHERITED = set(OWN) - {"args", "cwd", "env", "terminal", "user"}


def joined(process: dict[str, Any], own: dict[str, Any] = OWN) -> dict[str, Any]:
    result: dict[str, Any] = config_with({"process": own}, process)["process"]  # type: ignore[arg-type,typeddict-item,assignment]  # parts
    return result


def test_what_is_left_out_is_the_containers() -> None:
    result = joined({"args": ["x"], "cwd": "/"})
    assert {name for name in result if result[name] == OWN.get(name)} == INHERITED
    assert result["user"] == {"umask": 0o27}


@pytest.mark.parametrize("name", sorted(INHERITED))
def test_what_is_given_counts(name: str) -> None:
    given: object = {"noNewPrivileges": False, "oomScoreAdj": 0}.get(name, {"given": 1})
    assert joined({"args": ["x"], "cwd": "/", name: given})[name] == given


@pytest.mark.parametrize(
    ("name", "empty"), [("apparmorProfile", ""), ("selinuxLabel", ""), ("rlimits", [])]
)
def test_an_empty_one_counts_as_left_out(name: str, empty: object) -> None:
    assert joined({"args": ["x"], "cwd": "/", name: empty})[name] == OWN[name]


def test_the_umask_is_always_the_containers() -> None:
    asked = {"args": ["x"], "cwd": "/", "user": {"uid": 1, "gid": 2, "umask": 0}}
    assert joined(asked)["user"] == {"uid": 1, "gid": 2, "umask": 0o27}
    assert joined(asked, {"args": ["own"]})["user"] == {"uid": 1, "gid": 2}
    assert asked["user"] == {"uid": 1, "gid": 2, "umask": 0}


def test_nothing_of_the_containers_is_changed() -> None:
    before = {**OWN, "user": {**OWN["user"]}}
    joined({"args": ["x"], "cwd": "/"})
    assert before == OWN


@pytest.mark.parametrize(
    ("words", "paths"),
    [
        (("sub",), {"": "sub"}),
        (("cpu:a", "memory,pids:b"), {"cpu": "a", "memory": "b", "pids": "b"}),
        (("name=systemd:a",), {"name=systemd": "a"}),
    ],
)
def test_words_of_cgroup(words: tuple[str, ...], paths: dict[str, str]) -> None:
    assert parse_words(words) == paths


@pytest.mark.parametrize("words", [("a", "b"), ("cpu:a", "b"), ("a:b:c",), (":a",), ("a:x", "a:y")])
def test_malformed_words_of_cgroup(words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match="--cgroup"):
        parse_words(words)


def record_in(folder: Path) -> Record:
    record = new_record(folder / "state", "c")
    for name in ("cpu", "memory"):
        (folder / name / "top" / "sub").mkdir(parents=True)
        record.cgroup_paths[name] = str(folder / name / "top")
    return record


def test_a_cgroup_below(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    top = record.cgroup_paths
    assert cgroup_below(record, ()).paths == top
    assert cgroup_below(record, ("/",)).paths == top
    below = {name: f"{path}/sub" for name, path in top.items()}
    assert cgroup_below(record, ("/./sub//",)).paths == below
    assert cgroup_below(record, ("cpu:sub",)).paths == {**top, "cpu": below["cpu"]}


@pytest.mark.parametrize("path", ["..", "sub/..", "../top", "/..", "sub/../../x", "cpu:.."])
def test_a_cgroup_beside(tmp_path: Path, path: str) -> None:
    with pytest.raises(SpecError, match="bad sub cgroup path"):
        cgroup_below(record_in(tmp_path), (path,))


def test_a_cgroup_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="does not exist"):
        cgroup_below(record_in(tmp_path), ("none",))
    with pytest.raises(SpecError, match="unknown controller"):
        cgroup_below(record_in(tmp_path / "x"), ("pids:sub",))


MOUNTINFO = "30 1 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("own", "directory"),
    [
        ("0::/top/init.scope\n", "/sys/fs/cgroup/top/init.scope"),
        ("0::/top\n", None),  # where it was put: nothing is won
        ("0::/topper/x\n", None),
        ("0::/../outside\n", None),
        (None, None),  # it is gone
    ],
)
def test_the_cgroup_that_init_has_moved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str | None, directory: str | None
) -> None:
    def read_text(path: str) -> str:
        if path == "/proc/77/cgroup":
            if own is None:
                raise FileNotFoundError
            return own
        return MOUNTINFO if path.endswith("mountinfo") else "0::/\n"

    monkeypatch.setattr("ocirun.cgroups.files.read_text", read_text)
    monkeypatch.setattr("ocirun.cgroups.paths.read_text", read_text)
    record = new_record(tmp_path, "c")
    record.init_process_pid = 77
    record.cgroup_paths = {"": "/sys/fs/cgroup/top"}
    found = cgroup_of_init(record)
    assert (found and found.paths) == (directory and {"": directory})
    record.cgroup_paths = {"": "/sys/fs/cgroup/top", "cpu": "/sys/fs/cgroup/cpu/top"}
    assert cgroup_of_init(record) is None
