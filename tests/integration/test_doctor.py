"""`ocirun doctor` on this very machine, compared with what is known of it by other means.

Source: docs/doctor.md.
"""

from __future__ import annotations

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
