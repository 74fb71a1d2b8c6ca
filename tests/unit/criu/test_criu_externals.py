"""What CRIU is told of the host's mounts, namespaces and pipes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ocirun.cgroups.paths import Hierarchy
from ocirun.container.criu_options import CriuOptions, Folders, require_root
from ocirun.criu.externals import (
    inherited_namespaces,
    joined_namespaces,
    restored_mounts,
    saved_mounts,
    saved_namespaces,
)
from ocirun.criu.log import error_lines, errors_in
from ocirun.criu.stdio import load_names, pipes_among, save_names
from ocirun.errors import SetupError, SpecError, UsageError
from ocirun.kernel.process import CLONE_NEWNET
from ocirun.process.namespaces import Namespaces

CPU = "/sys/fs/cgroup/cpu,cpuacct"
V1 = [Hierarchy(("cpu", "cpuacct"), CPU, f"{CPU}/web")]
V2 = [Hierarchy((), "/sys/fs/cgroup", "/sys/fs/cgroup/web")]


def mount(destination: str, kind: str, source: str = "", *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": kind,
        "source": source,
        "options": list(options),
    }


def config(*mounts: dict[str, Any], **linux: Any) -> Any:  # noqa: ANN401
    return {"process": {}, "mounts": list(mounts), "linux": linux}


def test_binds_have_their_destination_as_name() -> None:
    made = config(
        mount("/data", "bind", "data", "rbind"),
        mount("/tmp", "tmpfs"),
        mount("/data", "none", "", "remount", "bind", "ro"),
    )
    assert restored_mounts(made, "/bundle", V2) == [{"key": "/data", "val": "/bundle/data"}]


def test_hierarchies_of_v1_are_bound_one_by_one() -> None:
    made = config(mount("/sys/fs/cgroup", "cgroup"))
    assert restored_mounts(made, "/b", V1) == [
        {"key": "/sys/fs/cgroup/cpu,cpuacct", "val": "/sys/fs/cgroup/cpu,cpuacct/web"}
    ]
    assert restored_mounts(made, "/b", V2) == []


def test_devices_of_a_user_namespace_are_the_hosts() -> None:
    made = config(namespaces=[{"type": "user"}])
    assert {"key": "/dev/zero", "val": "/dev/zero"} in restored_mounts(made, "/b", V2)
    assert restored_mounts(config(namespaces=[{"type": "pid"}]), "/b", V2) == []


@pytest.fixture
def root(tmp_path: Path) -> int:
    for name in ("real/data", "proc", "masked"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/kcore").touch()
    (tmp_path / "link").symlink_to("/real")
    (tmp_path / "out").symlink_to("../../../../../../../../etc")
    return os.open(tmp_path, os.O_PATH)


def test_a_dump_names_where_mounts_really_are(root: int, tmp_path: Path) -> None:
    made = config(
        mount("/link/data", "bind", "/srv", "bind"),
        mount("/gone", "bind", "/srv", "bind"),
        maskedPaths=["/proc/kcore", "/masked", "/proc/none"],
    )
    assert saved_mounts(made, "/b", V2, root) == [
        {"key": f"{tmp_path}/real/data", "val": "/link/data"},
        {"key": "/gone", "val": "/gone"},
        {"key": f"{tmp_path}/proc/kcore", "val": "/dev/null"},
    ]
    assert {"key": "/dev/null", "val": "/dev/null"} in restored_mounts(made, "/b", V2)
    os.close(root)


def test_links_of_the_image_do_not_leave_it(root: int) -> None:
    made = config(mount("/out/passwd", "bind", "/srv", "bind"), maskedPaths=["/out/passwd"])
    assert saved_mounts(made, "/b", V2, root) == [{"key": "/out/passwd", "val": "/out/passwd"}]
    os.close(root)


def test_joined_namespaces_are_external_or_joined() -> None:
    pid = os.getpid()
    names = {"network": "net", "ipc": "ipc", "uts": "uts"}
    entries = [{"type": kind, "path": f"/proc/self/ns/{file}"} for kind, file in names.items()]
    namespaces = Namespaces(config(namespaces=[*entries, {"type": "pid"}]))
    inode = os.stat("/proc/self/ns/net").st_ino
    assert saved_namespaces(namespaces, pid) == [f"net[{inode}]:extRootNetNS"]
    assert joined_namespaces(namespaces) == [
        {"ns": "ipc", "ns_file": "/proc/self/ns/ipc"},
        {"ns": "uts", "ns_file": "/proc/self/ns/uts"},
    ]
    namespaces.open()
    assert inherited_namespaces(namespaces) == [("extRootNetNS", namespaces.fds["network"])]
    namespaces.close()


def test_names_of_pipes(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    names = ["/dev/null", "pipe:[7]", "pipe:[7]"]
    assert load_names(fd) == []
    save_names(fd, names)
    assert load_names(fd) == names
    assert (tmp_path / "descriptors.json").stat().st_mode & 0o777 == 0o600
    assert pipes_among(names) == [("pipe:[7]", 1)]
    assert pipes_among(["a", "b", "c", "pipe:[8]"]) == []
    (tmp_path / "descriptors.json").write_text('{"pipe": 1}')
    with pytest.raises(SpecError, match="is not a list of names"):
        load_names(fd)
    os.close(fd)


@pytest.mark.parametrize("kind", ["link", "fifo", "large"])
def test_names_of_pipes_are_read_from_a_small_regular_file_only(tmp_path: Path, kind: str) -> None:
    """A FIFO blocked restore. What stands there is replaced by a checkpoint, and not written to."""
    fd = os.open(tmp_path, os.O_RDONLY)
    file = tmp_path / "descriptors.json"
    target = tmp_path / "target"
    target.write_text('["of the host"]')
    if kind == "link":
        file.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        file.write_text("[" + " " * 70_000 + "]")
    with pytest.raises(SetupError, match=r"^reading descriptors\.json: (not a reg|larger than )"):
        load_names(fd)
    save_names(fd, ["/dev/null"])
    assert load_names(fd) == ["/dev/null"]
    assert target.read_text() == '["of the host"]'
    assert sorted(os.listdir(tmp_path)) == ["descriptors.json", "target"]
    os.close(fd)


def test_the_last_error_lines_of_a_log_are_returned(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"(00.{n}) Error {n}\n" for n in range(20)))
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path, os.O_RDONLY)
    assert error_lines(fd, "log") == [f"Error {n}" for n in range(10, 20)]
    for name in ("fifo", "none", "."):
        assert error_lines(fd, name) == []
    os.close(fd)
    assert errors_in(b"(1) fine\n\xff Error \xff\n") == ["Error \ufffd"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("manage_cgroups_mode", "firm", "soft, full, strict or ignore"),
        ("network_lock", "door", "iptables, nftables or skip"),
        ("empty_ns", ["pid"], "'pid' is not supported"),
        ("page_server", "8080", "ADDRESS:PORT"),
        ("page_server", "host:70000", "ADDRESS:PORT"),
    ],
)
def test_values_without_a_meaning(field: str, value: Any, words: str) -> None:  # noqa: ANN401
    with pytest.raises(UsageError, match=words):
        CriuOptions("/i", **{field: value}).check()


def test_what_both_verbs_tell() -> None:
    options = CriuOptions("/i", manage_cgroups_mode="ignore", network_lock="skip", file_locks=True)
    options.check()
    fields = options.common()
    assert (fields["manage_cgroups_mode"], fields["network_lock"]) == (0, 3)
    assert (fields["file_locks"], fields["tcp_established"]) == (True, False)
    assert fields["empty_ns"] == CLONE_NEWNET
    assert "manage_cgroups_mode" not in CriuOptions("/i").common()
    assert CriuOptions("/i", page_server="[::1]:80").server() == {"address": "::1", "port": 80}


def test_labels_need_a_newer_criu() -> None:
    options = CriuOptions("/i", lsm_profile="apparmor:x")
    options.check_version((3, 16, 0))
    with pytest.raises(SetupError, match=r"need criu 3\.16, it is 3\.15\.0"):
        options.check_version((3, 15, 0))


def test_it_is_for_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    require_root("checkpoint")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="checkpoint needs root"):
        require_root("checkpoint")


def test_image_and_work_directories_are_made_private(tmp_path: Path) -> None:
    options = CriuOptions(str(tmp_path / "i"), str(tmp_path / "w"))
    with pytest.raises(SetupError, match=f"opening {tmp_path}/i: no such file"):
        Folders(options, "log", make=False)
    with Folders(options, "log", make=True) as folders:
        assert os.stat(folders.image_fd).st_mode & 0o777 == 0o700
        assert os.stat(folders.work.fd).st_mode & 0o777 == 0o700
        assert folders.work.path == str(tmp_path / "w")
