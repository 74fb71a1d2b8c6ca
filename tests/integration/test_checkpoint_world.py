"""What is around the processes of a saved container: mounts, namespaces, cgroups, hooks.

Source: docs/runc-compat/checkpoint.md#dump, docs/runc-compat/checkpoint.md#restore.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates
from harness.runtime import wait_until
from harness.saved import COUNT, PATIENCE_S, Saved

pytestmark = [needs("root", "criu")]


@needs("cgroup v2")
def test_limits_are_back_in_the_new_cgroup(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    bundle.linux["resources"] = {"pids": {"limit": 33}, "memory": {"limit": 64 << 20}}
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        folder = _cgroup(saved.container.pid)
        assert saved.container.id in folder.name
        assert (folder / "pids.max").read_text() == "33\n"
        assert (folder / "memory.max").read_text() == f"{64 << 20}\n"
        assert (folder / "cgroup.procs").read_text().split() == [str(saved.container.pid)]


def _cgroup(pid: int) -> Path:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    [path] = [line[3:] for line in lines if line.startswith("0::")]
    return Path("/sys/fs/cgroup" + path)


@needs("ours", "cgroup v2")
def test_a_limit_that_criu_itself_would_not_fit_in(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    bundle.linux["resources"] = {"pids": {"limit": 1}}
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()
        assert (_cgroup(saved.container.pid) / "pids.max").read_text() == "1\n"


@pytest.mark.parametrize(
    "mode",
    [pytest.param("ignore", marks=peer_deviates("runc", "1.1 knows no ignore")), "full"],
)
def test_modes_of_cgroups(box: Box, mode: str) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--manage-cgroups-mode", mode).ok()
        saved.restore("--manage-cgroups-mode", mode).ok()
        saved.pipe.count_on()
        assert saved.container.id in _cgroup(saved.container.pid).name


def test_bind_mounts_are_the_hosts_again(box: Box) -> None:
    bundle = box.bundle("sh", "-c", f"({COUNT}) >> /data/numbers")
    first, second = box.folder / "first", box.folder / "second"
    for folder in (first, second):
        folder.mkdir()
    single = box.folder / "single"
    single.write_text("a file\n")
    bundle.add_mount("/data", "bind", str(first), "bind")
    bundle.add_mount("/etc/single", "bind", str(single), "bind", "ro")
    with Saved(box, bundle).run() as saved:
        wait_until((first / "numbers").exists, "the first number")
        saved.checkpoint().ok()
        # What was open is found where it was, in another folder of the host.
        (first / "numbers").rename(second / "numbers")
        size = (second / "numbers").stat().st_size
        bundle.mounts[-2]["source"] = str(second)
        for place in ("data", "etc/single"):
            target = bundle.rootfs / place
            target.rmdir() if target.is_dir() else target.unlink()
        saved.restore().ok()
        wait_until(lambda: (second / "numbers").stat().st_size > size, "more numbers", 60)
        assert saved.container.exec("cat", "/etc/single").ok().stdout == "a file\n"
        assert not (first / "numbers").exists()


def test_a_destination_behind_a_link_of_the_image(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    (bundle.rootfs / "real").mkdir()
    (bundle.rootfs / "link").symlink_to("/real")
    (box.folder / "data").mkdir()
    bundle.add_mount("/link/data", "bind", str(box.folder / "data"), "bind")
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()
        saved.container.exec("sh", "-c", "echo hi > /real/data/file").ok()
        assert (box.folder / "data" / "file").exists()


def test_masks_and_read_only_paths_hold(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret" / "file").write_text("secret")
    (bundle.rootfs / "more").mkdir()
    bundle.linux["maskedPaths"] = ["/proc/timer_list", "/proc/version", "/secret", "/more"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/etc"]
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        assert saved.container.exec("cat", "/proc/version").ok().stdout == ""
        assert saved.container.exec("ls", "/secret").ok().stdout == ""
        saved.container.exec("touch", "/etc/new").failed(status=1)


@pytest.fixture
def foreign() -> Iterator[int]:
    """A process in a network namespace of its own, with lo up."""
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; exec sleep 1000"])
    own = os.readlink("/proc/self/ns/net")
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != own, "a namespace")
    yield process.pid
    process.kill()
    process.wait()


def test_a_joined_network_namespace_is_joined_again(box: Box, foreign: int) -> None:
    bundle = box.bundle("/probe", "count")
    bundle.set_namespace("network", f"/proc/{foreign}/ns/net")
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()
        namespace = os.readlink(f"/proc/{saved.container.pid}/ns/net")
        assert namespace == os.readlink(f"/proc/{foreign}/ns/net")


@peer_deviates("runc", "leaves lo of a restored container down")
def test_an_own_network_namespace_has_lo_as_after_create(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint().ok()
        saved.restore().ok()
        assert "UP" in saved.container.exec("ip", "link", "show", "lo").ok().stdout


def test_an_empty_network_namespace_is_empty(box: Box) -> None:
    with Saved(box).run() as saved:
        saved.checkpoint("--empty-ns", "network").ok()
        saved.restore("--empty-ns", "network").ok()
        assert "UP" not in saved.container.exec("ip", "link", "show", "lo").ok().stdout


def test_hooks_of_a_restored_container(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    moments = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
    told = box.folder / "told"
    bundle.config["hooks"] = {
        moment: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {moment} >> {told}"]}]
        for moment in moments
        if moment not in ("createContainer", "startContainer")
    }
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        told.unlink()
        saved.restore().ok()
        assert told.read_text().split() == ["prestart", "createRuntime"]


def test_poststop_hooks_run_when_a_dump_ends_it(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    told = box.folder / "told"
    bundle.config["hooks"] = {
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {told}"]}]
    }
    with Saved(box, bundle).run() as saved:
        saved.checkpoint("--leave-running").ok()
        assert not told.exists()
        saved.checkpoint().ok()
        assert '"status":"stopped"' in told.read_text().replace(" ", "")


@needs("CAP_SYS_RESOURCE")  # CRIU asks with prlimit(2) for the limits of another user's process
@peer_deviates("runc", "loses no_new_privs, which CRIU before 3.19 does not restore")
def test_rights_are_those_from_before(box: Box) -> None:
    bundle = box.bundle("/probe", "count")
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [7]}
    bundle.process["noNewPrivileges"] = True
    bundle.process["capabilities"] = {"bounding": ["CAP_KILL"], "permitted": []}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"}],
    }
    names = ("Uid", "Gid", "Groups", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp")
    with Saved(box, bundle).run() as saved:
        before = _status(saved.container.pid, names)
        saved.checkpoint().ok()
        saved.restore().ok()
        saved.pipe.count_on()
        assert _status(saved.container.pid, names) == before


def _status(pid: int, names: tuple[str, ...]) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split()[1:] for line in lines}
    return {name: found[name] for name in names}


@needs("ours")
def test_the_configuration_file_of_the_annotation_is_read(box: Box, etc_criu: Path) -> None:
    """CRIU lets the file win over what it was told: the log then has another name."""
    bundle = box.bundle("/probe", "count")
    file = etc_criu / "own.conf"
    file.write_text("log-file elsewhere.log\n")
    bundle.config["annotations"] = {"org.criu.config": str(file)}
    with Saved(box, bundle).run() as saved:
        saved.checkpoint().ok()
        assert (saved.images / "elsewhere.log").exists()
        saved.restore().ok()
        saved.pipe.count_on()


def test_extra_processes_are_saved_too(box: Box) -> None:
    """A second process, a pipe between both, and a file whose name is gone."""
    program = f"exec 5>/tmp/gone; rm /tmp/gone; ({COUNT}) | while read n; do echo $n; done"
    with Saved(box, box.bundle("sh", "-c", program)).run() as saved:
        saved.pipe.count_on()
        saved.checkpoint().ok()
        last = saved.pipe.numbers[-1]
        saved.restore().ok()
        saved.pipe.count_on()
        assert saved.pipe.numbers[0] in (last + 1, last + 2)
        status = saved.container.runtime.call("ps", "--format", "json", saved.container.id)
        assert len(status.ok().json()) >= 2


@needs("ours")
def test_without_a_cgroup(box: Box) -> None:
    """crun's --cgroup-manager=disabled: it stays where its creator is, before and after."""
    with Saved(box) as saved:
        call = box.runtime.call
        flags = ("--cgroup-manager", "disabled")
        words = ("--bundle", saved.bundle.path, "--detach", saved.container.id)
        call(*flags, "run", *words, bundle=saved.bundle, **saved.stdio()).ok()
        saved.checkpoint().ok()
        words = saved.restore_words("--detach")
        call(*flags, *words, bundle=saved.bundle, timeout=PATIENCE_S, **saved.stdio()).ok()
        saved.pipe.count_on()
        assert _cgroup(saved.container.pid) == _cgroup(os.getpid())


@needs("systemd")
def test_a_scope_of_systemd_is_made_again(box: Box) -> None:
    with Saved(box) as saved:
        call = box.runtime.call
        words = ("--bundle", saved.bundle.path, "--detach", saved.container.id)
        call("--systemd-cgroup", "run", *words, bundle=saved.bundle, **saved.stdio()).ok()
        saved.checkpoint().ok()
        words = saved.restore_words("--detach")
        keys = saved.stdio() | {"bundle": saved.bundle, "timeout": PATIENCE_S}
        call("--systemd-cgroup", *words, **keys).ok()
        saved.pipe.count_on()
        folder = _cgroup(saved.container.pid)
        assert folder.name.endswith(f"{saved.container.id}.scope")
        assert str(saved.container.pid) in (folder / "cgroup.procs").read_text().split()
        saved.container.delete("--force").ok()
        assert not folder.exists()
