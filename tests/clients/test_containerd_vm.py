"""containerd's shim on containers that are virtual machines: the vm engine behind a wrapper.

One boot, which takes seconds. Source: docs/vm.md, docs/engines.md.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest
from harness import machine, peers
from harness.needs import needs

from clients.calls import call, wait_until
from clients.containerd import Containerd, Ctr
from clients.images import IMAGE

pytestmark = needs("root", "machines")

BOOT_S = 300.0  # a machine is emulated, and others work beside it
SCRIPT = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.2; done"


@pytest.fixture(params=["ours"])  # which the table of outcomes then names
def vm(
    request: pytest.FixtureRequest, containerd: Containerd, folder: Path
) -> Generator[Ctr, None, None]:
    """Ctr with a BinaryName that chooses the engine."""
    wrapper = folder / "ocirun-vm"
    wrapper.write_text(f'#!/bin/sh\nexec {peers.find_runtime(request.param)[1]} --engine vm "$@"\n')
    wrapper.chmod(0o755)
    ctr = Ctr(containerd, str(wrapper), f"{machine.MARK}-{time.monotonic_ns():x}")
    yield ctr
    for name in containerd.containers():
        if name.startswith(ctr.prefix):
            containerd.forget(name)


def test_a_task_is_a_machine(vm: Ctr, tmp_path: Path) -> None:
    """Run with the default profile, exec, pause, kill with a handled signal, status, removal."""
    name = vm.name()
    words = vm.daemon.words("run", "--runc-binary", vm.runtime, "-d", "--null-io")
    words += ["--pid-file", tmp_path / "pid", "--seccomp", IMAGE, name, "sh", "-c", SCRIPT]
    call(*words, patience=BOOT_S).expect()
    assert vm.status(name) == "RUNNING"
    script = "uname -r; grep Seccomp: /proc/self/status; echo err >&2; exit 11"
    done = vm.exec(name, "sh", "-c", script).expect(11)
    release, filtered = done.out.splitlines()
    assert filtered == "Seccomp:\t2"
    assert release != Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert done.err == "err\n"
    vm.task("pause", name).expect()
    assert vm.status(name) == "PAUSED"
    vm.task("resume", name).expect()
    pid = (tmp_path / "pid").read_text()
    assert pid in vm.task("ps", name).expect().out.split()
    vm.task("kill", name).expect()  # SIGTERM, to the process in the guest
    wait_until(lambda: vm.status(name) == "STOPPED", "the task's end")
    assert vm.remove(name) == 9
    assert not Path(f"/proc/{pid}").exists()
