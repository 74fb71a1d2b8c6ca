"""`ocirun doctor` on this very machine, compared with what is known of it by other means.

Source: docs/doctor.md.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import machine
from harness.box import Box
from harness.confined import refusing
from harness.needs import missing, needs
from harness.user import Home

pytestmark = needs("root", "ours")

Report = dict[str, Any]


def doctor(box: Box, *words: str, **keys: Any) -> Report:  # noqa: ANN401
    report: Report = box.runtime.call("doctor", "--format", "json", *words, **keys).ok().json()
    return report


def finding(report: Report, name: str) -> Report:
    (found,) = [one for one in report["findings"] if one["name"] == name]
    return dict(found)


def is_ok(report: Report, name: str) -> bool:
    return bool(finding(report, name)["verdict"] == "ok")


def starts_fast(box: Box) -> bool:
    """Is this the launcher of `make build`, with the Python of a Debian of docs/fast-start.md?"""
    release = platform.freedesktop_os_release()
    return (
        box.runtime.path == f"{sys.prefix}/bin/ocirun"
        and sys.base_prefix == "/usr"
        and platform.machine() == "x86_64"
        and (release["ID"], release.get("VERSION_ID")) in {("debian", "12"), ("debian", "13")}
    )


@pytest.mark.lab
def test_the_json_report_has_its_documented_members(box: Box) -> None:
    report = doctor(box)
    assert set(report) == {"kernel", "uid", "canRun", "findings"}
    assert (report["kernel"], report["uid"], report["canRun"]) == (os.uname().release, 0, True)
    keys = {"group", "name", "verdict", "did", "found", "consequence", "remedy", "needed"}
    for one in report["findings"]:
        assert set(one) == keys
        assert one["verdict"] in {"ok", "degraded", "lacking"}, one
        assert bool(one["consequence"]) == (one["verdict"] != "ok")
        assert not (one["remedy"] and one["verdict"] == "ok")
        assert one["did"]
    if starts_fast(box):
        assert finding(report, "fast start")["found"] == "from a snapshot"


def test_as_root_it_knows_what_the_tests_know(box: Box) -> None:
    report = doctor(box)
    trees = machine.cgroup_hierarchies()
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    layout = "v2" if unified else "hybrid" if "" in trees and len(trees) > 1 else "v1"
    assert finding(report, "layout")["found"] == layout
    assert is_ok(report, "freezer") == bool(unified or "freezer" in trees)
    bounding = machine.capability_bounding()
    all_of_them = (1 << (int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1)) - 1
    assert is_ok(report, "capabilities") == (bounding & all_of_them == all_of_them)
    if missing("CAP_SYS_RESOURCE"):
        assert "CAP_SYS_RESOURCE" in finding(report, "capabilities")["found"]
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    assert is_ok(report, "AppArmor") == (apparmor.exists() and apparmor.read_text()[0] == "Y")
    assert is_ok(report, "SELinux") == Path("/sys/fs/selinux/enforce").exists()
    assert is_ok(report, "resctrl") == (" - resctrl " in Path("/proc/self/mountinfo").read_text())
    assert is_ok(report, "ps") == bool(shutil.which("ps"))
    kinds = {"mnt": "mount", "net": "network"}
    for entry in os.listdir("/proc/self/ns"):
        if not entry.endswith("_for_children"):
            assert is_ok(report, kinds.get(entry, entry)), entry


def test_criu_says_the_same(box: Box) -> None:
    path = shutil.which("criu")
    said = finding(doctor(box), "criu")
    if path is None:
        assert "no criu" in said["found"]
        return
    done = subprocess.run([path, "check"], capture_output=True, check=False)
    assert (said["verdict"] == "ok") == (done.returncode == 0)


@needs("userns")
def test_as_an_ordinary_user(box: Box) -> None:
    home = Home(box)
    report = doctor(box, **home.keys)
    assert (report["uid"], report["canRun"]) == (home.user.uid, True)
    # What a user can do without root's rights is done with those of its own user namespace.
    for name in ("mount", "pid", "network", "ipc", "uts", "mount API", "pidfd"):
        assert is_ok(report, name), finding(report, name)
    assert str(home.user.subordinate[1]) in finding(report, "subordinate ids")["found"]
    assert not is_ok(report, "id-mapped mounts")
    assert not is_ok(report, "delegation")
    # And a container does run.
    assert home.run(home.bundle("true")).status == 0


def test_a_user_who_can_run_none(box: Box) -> None:
    """Without a folder of its own, for one."""
    home = Home(box)
    keys = home.keys
    del keys["env"]["XDG_RUNTIME_DIR"]
    done = home.command("doctor", "--format=json", through=("env", "-u", "XDG_RUNTIME_DIR"))
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert not report["canRun"]
    assert "not writable" in finding(report, "state root")["found"]
    assert finding(report, "state root")["needed"]


def test_no_user_namespaces_left(box: Box) -> None:
    """Counted within a user namespace of the test: nobody else is kept from having one."""
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces && "
        f"exec {box.runtime.path} --root {box.runtime.root} doctor --format json"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--mount-proc", "--pid", "--fork",
         "sh", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert not is_ok(report, "user"), done.stderr
    assert "no user namespaces" in finding(report, "namespace limits")["found"]


def test_people_read_a_table(box: Box) -> None:
    text = box.runtime.call("doctor").ok().stdout
    assert text.startswith("kernel\n  ok ")
    assert text.endswith("\nThis user can run containers.\n")
    assert "\x1b" not in text


def test_on_a_terminal_it_is_coloured(box: Box) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen([box.runtime.path, "doctor"], stdout=slave, env=environment) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                part = os.read(master, 4096)
            except OSError:  # EIO: the end
                break
            seen += part
        os.close(master)
    assert process.returncode == 0
    assert b"\x1b[32m" in seen
    assert b"openat2" in seen


def test_a_format_that_is_none(box: Box) -> None:
    box.runtime.call("doctor", "--format", "yaml").failed("invalid format option")


@pytest.mark.parametrize("uid", [0, 43210])
def test_no_question_leaves_anything_behind(box: Box, uid: int) -> None:
    """Descriptors, children, mounts and cgroups are as they were."""
    program = (
        "import os, sys; from ocirun.doctor.examine import examine\n"
        "def world(): return (os.listdir('/proc/self/fd'), os.getcwd(), os.umask(0o22),\n"
        "    open('/proc/self/cgroup').read(), os.readlink('/proc/self/ns/mnt'))\n"
        "world(); before = world()\n"
        "examine(None)\n"
        "assert world() == before\n"
        "try: os.waitpid(-1, os.WNOHANG)\n"
        "except ChildProcessError: print('none')\n"
    )
    keys = Home(box).keys if uid else {}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, check=False, **keys
    )
    assert (done.stdout, done.stderr) == (b"none\n", b"")


BREAK = """
mount --bind /dev/null /dev/full
mkdir {folder}/ro; mount -t tmpfs -o ro none {folder}/ro
umount -l -R /sys/fs/cgroup
ulimit -n 64
exec {setpriv} --bounding-set -sys_time {env} PATH={folder}/bin NOTIFY_SOCKET=/no/such \\
    {ocirun} --root {folder}/ro/state doctor --format json
"""
# Check: what it finds, and the beginning of its remedy.
BROKEN = {
    "devices": ("/dev/full is the device 1:3", "Recreate it as root: mknod -m 666 /dev/full c 1 7"),
    "state root": ("{folder}/ro is read-only", "Use --root"),
    "layout": ("no cgroup hierarchy is mounted", "Mount cgroup2 on /sys/fs/cgroup."),
    "freezer": ("no freezer hierarchy is mounted", "Mount the freezer hierarchy"),
    "device rules": ("no devices hierarchy is mounted", "Run as root"),
    "born in the cgroup": ("no v2 hierarchy", "Use cgroup v2."),
    "cgroup.kill": ("no v2 hierarchy", "Use cgroup v2."),
    "limits": ("64 open files (of 64)", "ulimit -n 1024"),
    "NOTIFY_SOCKET": ("no such file or directory", "Unset NOTIFY_SOCKET"),
    "criu": ("criu check: it is broken", "{folder}/bin/criu check -v4 has details."),
    "ps": ("there is no ps in PATH", "Install procps."),
    "id-map helpers": ("no newuidmap in PATH", "Install the package uidmap"),
    "Landlock": ("not in this kernel", "Use a kernel"),
    "session keyring": ("operation not permitted", "Run ocirun outside of a sandbox that blocks"),
    "executable memory files": ("operation not permitted", "Run ocirun outside of the seccomp"),
    "close_range": ("refused or missing", "Run ocirun outside of the seccomp"),
}


def test_each_thing_that_is_broken_is_found(box: Box) -> None:
    """All at once, in a mount namespace of its own and below a seccomp filter."""
    (box.folder / "bin").mkdir()
    criu = box.folder / "bin/criu"
    criu.write_text("#!/bin/sh\necho it is broken >&2\nexit 1\n")
    criu.chmod(0o755)
    script = BREAK.format(
        folder=box.folder,
        ocirun=box.runtime.path,
        setpriv=shutil.which("setpriv"),
        env=shutil.which("env"),
    )

    def refuse() -> None:
        refusing(errno.ENOSYS, "landlock_create_ruleset")()
        refusing(errno.EPERM, "keyctl", "memfd_create", "close_range")()

    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script],
        capture_output=True, text=True, check=False, preexec_fn=refuse,
    )  # fmt: skip
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    for name, (found, remedy) in BROKEN.items():
        one = finding(report, name)
        assert one["verdict"] != "ok", one
        assert found.format(folder=box.folder) in one["found"], one
        assert one["remedy"].startswith(remedy.format(folder=box.folder)), one
    assert "CAP_SYS_TIME" in finding(report, "capabilities")["found"]
    assert report["canRun"] is False
    sound = ("version", "openat2", "mount API", "pidfd", "mount", "pid", "seccomp", "seal")
    assert [name for name in sound if not is_ok(report, name)] == []
