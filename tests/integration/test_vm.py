"""`--engine vm`: the verbs, on containers that are virtual machines.

A boot takes seconds, so few tests boot, and each checks much; test_vm_guest.py has what needs no
machine. Source: docs/vm.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pytest
from harness.bars import FULL
from harness.box import Box, Container
from harness.machine import REPO
from harness.machines import BOOT_S, WAIT_S, by_vm, in_guest, qemu, wait_output
from harness.needs import needs
from harness.runtime import wait_until

from ocirun.engines.vm import frames
from ocirun.engines.vm.qmp import Qmp, QmpError
from ocirun.spec.seccomp_profile import default_profile

pytestmark = needs("ours", "root", "machines")

LOOP = "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.2; done"


def test_each_verb_works_on_a_machine(box: Box, tmp_path: Path) -> None:
    """One boot: every verb, exec with pipes and a terminal, a bind mount, hooks, the end."""
    container = box.container(None, "sh", "-c", LOOP)
    bundle, runtime = container.bundle, box.runtime
    bundle.config["hostname"] = "machine"
    bundle.linux["seccomp"] = profile_without("mkdir")
    bundle.linux["resources"] = {"pids": {"limit": 20}}
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    (tmp_path / "shared").mkdir()
    bundle.add_mount("/shared", "bind", str(tmp_path / "shared"), "rbind", "ro")
    (tmp_path / "file").write_text("in a file")
    bundle.add_mount("/etc/file", "bind", str(tmp_path / "file"), "bind")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ncat >{tmp_path}/$1\n")
    hook.chmod(0o755)
    moments = ("createRuntime", "poststart", "poststop")
    bundle.config["hooks"] = {
        moment: [{"path": str(hook), "args": ["hook", moment]}] for moment in moments
    }
    by_vm(container, "create", "--pid-file", tmp_path / "pid").ok()
    state = container.state()
    assert state["status"] == "created"
    assert (tmp_path / "pid").read_text() == str(state["pid"])
    qemu = Path(f"/proc/{state['annotations']['org.ocirun.vm.pid']}")
    assert qemu.joinpath("comm").read_text().startswith("qemu")
    assert "Uid:\t65534\t65534" in qemu.joinpath("status").read_text()
    assert "Seccomp:\t2" in qemu.joinpath("status").read_text()
    assert container.output == ""
    container.start(timeout=WAIT_S).ok()
    container.start().failed("cannot start an already running container")
    wait_output(container, "up")
    _check_exec(container)
    container.exec("no-such-program", timeout=WAIT_S).failed(
        "executable file not found in $PATH", status=255
    )
    _check_terminal(container)
    for verb in ("checkpoint", "audit"):
        runtime.call(verb, container.id).failed(f"{verb}: container {container.id} is run by the")
    runtime.call("pause", container.id).ok()
    assert container.status == "paused"
    runtime.call("resume", container.id).ok()
    container.kill("USR1").ok()
    wait_output(container, "usr1")
    _signal_and_leave(container)
    wait_output(container, "usr1\nusr1")
    container.delete().failed("that is not stopped: running")
    container.kill("TERM").ok()
    wait_until(lambda: container.status == "stopped", "the end", WAIT_S)
    assert container.output == "up\nusr1\nusr1\nterm\n"
    container.kill().failed("container not running")
    container.delete().ok()
    for moment in moments:
        assert json.loads((tmp_path / moment).read_text())["id"] == container.id


def _check_exec(container: Container) -> None:
    """Run a script in the machine: its stdio, files, filter, cgroup and status."""
    script = """cat; hostname; uname -r; echo $$; cat /etc/file; touch /shared/x || echo read-only
        grep ^Seccomp: /proc/self/status /proc/1/status; mkdir /x
        cd /sys/fs/cgroup; cat pids.max; grep -wc -e 1 -e $$ cgroup.procs; echo err >&2; exit 4"""
    call = container.exec("sh", "-c", script, stdin=b"typed\n", timeout=WAIT_S)
    assert call.status == 4
    lines = call.stdout.split("\n")
    assert lines[:2] == ["typed", "machine"]
    assert lines[2] != os.uname().release
    assert lines[4] == "in a fileread-only"
    assert lines[5:7] == [f"/proc/{process}/status:Seccomp:\t2" for process in ("self", "1")]
    assert lines[7:9] == ["20", "2"]
    assert "mkdir: can't create directory '/x': Operation not permitted" in call.stderr
    assert "err\n" in call.stderr


def profile_without(call: str) -> dict[str, Any]:
    """Return the profile of `spec --profile hardened` without this system call."""
    profile = json.loads(json.dumps(default_profile()))
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if name != call]
    return profile


def _signal_and_leave(container: Container) -> None:
    """Be a caller that does not wait for its answer, such as a `kill` that is interrupted."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(container.runtime.root / container.id / "vm.sock"))
        caller.sendall(frames.frame(frames.SIGNAL, 0, frames.u32(signal.SIGUSR1)))


def _check_terminal(container: Container) -> None:
    """Run a shell on a terminal in the machine: its size, a change of it, a key, the status."""
    master, slave = os.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
    said = ""

    def read_until(text: str) -> None:
        nonlocal said
        os.set_blocking(master, False)

        def found() -> bool:
            nonlocal said
            try:
                said += os.read(master, 4096).decode()
            except BlockingIOError:
                return False
            return text in said

        wait_until(found, f"{text!r} on the terminal", WAIT_S)
        said = said.partition(text)[2]

    argv = [container.runtime.path, "--root", str(container.runtime.root), "exec", "-t"]
    child = subprocess.Popen(
        [*argv, container.id, "sh"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    try:
        os.write(master, b"tty; stty size; echo re\\ady\n")
        read_until("20 70")
        read_until("ready")
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        child.send_signal(signal.SIGWINCH)  # the kernel's, for the terminal's own session
        os.write(master, b"while [ \"$(stty size)\" != '30 80' ]; do :; done; echo si\\ze\n")
        read_until("size")
        os.write(master, b"sleep 1000\n")
        while "awake" not in said:
            time.sleep(0.5)  # the key is for who is in the foreground: the shell at first
            os.write(master, b"\x03echo aw\\ake\n")
            with contextlib.suppress(BlockingIOError):
                said += os.read(master, 4096).decode()
        os.write(master, b"\nexit 9\n")
        assert child.wait(WAIT_S) == 9
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(not FULL, reason="with OCIRUN_BARS=full: it boots a machine")
def test_a_bundle_with_a_vm_section_runs_and_a_panic_is_told(box: Box) -> None:
    script = in_guest("echo here; echo c >/proc/sysrq-trigger")  # Danger: it would crash the host
    container = box.container(None, "sh", "-c", script)
    container.bundle.config["vm"] = {"hwConfig": {"vcpus": 2, "memory": 192 << 20}}
    call = container.run(timeout=BOOT_S)
    assert call.stdout == "here\n"
    call.failed("the guest's kernel panicked: sysrq triggered crash", status=137)


@pytest.mark.skipif(not FULL, reason="with OCIRUN_BARS=full: it boots a machine")
def test_a_machine_whose_qemu_or_monitor_is_killed_is_stopped(box: Box) -> None:
    for whom in ("qemu", "monitor"):
        container = box.container(None, "sleep", "1000")
        by_vm(container, "run", "--detach").ok()
        state = container.state()
        pid = state["annotations"]["org.ocirun.vm.pid"] if whom == "qemu" else state["pid"]
        os.kill(int(pid), signal.SIGKILL)
        wait_until(lambda c=container: c.status == "stopped", "the end", WAIT_S)
        if whom == "qemu":
            failure = box.runtime.root / container.id / "vm.error"
            assert failure.read_text() == "QEMU was killed by signal 9"
        container.delete().ok()


NO_QEMU = {"hypervisor": {"path": "/nowhere/qemu"}}
NO_KERNEL = {"kernel": {"path": "/nowhere/kernel"}}
NOT_QEMU = {"hypervisor": {"path": "/bin/true"}, "kernel": {"path": "/bin/true"}}


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (NO_QEMU, "the hypervisor /nowhere/qemu is not there"),
        (NO_KERNEL, "the kernel /nowhere/kernel does not exist"),
        (NOT_QEMU, "starting /bin/true: QEMU ended with status 0"),
        ({"hypervisor": {"path": "QEMU", "parameters": ["-nonsense"]}}, "QEMU ended with status 1"),
        ({"hypervisor": {"path": "QEMU", "parameters": ["-S"]}}, "has not booted in 2 s: its"),
    ],
)
def test_a_machine_that_cannot_be_made_is_one_sentence_and_leaves_nothing(
    section: dict[str, Any], sentence: str, box: Box
) -> None:
    container = box.container()
    machine = json.loads(json.dumps(section).replace("QEMU", qemu()))
    container.bundle.config["vm"] = machine
    container.bundle.config["annotations"] = {"org.ocirun.vm.boot-seconds": "2"}
    container.create(timeout=BOOT_S).failed(sentence)
    assert len(container._first.log_lines) == 1  # type: ignore[union-attr]
    container.runtime.call("state", container.id).failed("does not exist")


def test_a_host_without_qemu_says_so(box: Box) -> None:
    container = box.container()
    by_vm(container, "create", env={"PATH": "/nowhere"}).failed("no qemu-system-x86_64 in $PATH")


def test_what_a_machine_cannot_have_is_refused_before_anything_is_made(box: Box) -> None:
    container = box.container()
    container.bundle.linux["devices"] = [
        {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438}
    ]
    by_vm(container, "create").failed("/linux/devices: the vm engine has no counterpart for this")


def test_the_conversation_with_qemu() -> None:
    ours, theirs = socket.socketpair()
    words = [qemu(), "-M", "none", "-nodefaults", "-display", "none", "-S"]
    chardev = [
        "-chardev",
        f"socket,id=qmp,fd={theirs.fileno()}",
        "-mon",
        "chardev=qmp,mode=control",
    ]
    with subprocess.Popen([*words, *chardev], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        qmp = Qmp(ours.detach())
        assert qmp.greet()[0].isdigit()
        assert qmp.command("query-status")["running"] is False
        with pytest.raises(QmpError, match="asking QEMU for nonsense: "):
            qmp.command("nonsense")
        assert qmp.shutdown_reason() == ""
        qmp.command("quit")
        assert process.wait(WAIT_S) == 0
        qmp.read_events()
        assert qmp.shutdown_reason() == "host-qmp-quit"
        with pytest.raises(QmpError, match="ended"):
            qmp.command("query-status")
        os.close(qmp.fd)


def test_the_parts_of_a_machine_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run([REPO / "tools/vm", tmp_path / name], check=True)
    for part in ("initrd", "package"):
        assert (tmp_path / "a" / part).read_bytes() == (tmp_path / "b" / part).read_bytes()
