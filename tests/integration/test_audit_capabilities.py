"""Each capability does what its finding says, and no other one does.

Source: capabilities(7); docs/audit.md#the-rights-of-the-process.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from harness.audit import grant, of_bundle
from harness.box import Box
from harness.bundle import Bundle
from harness.needs import missing, needs
from harness.proofs import proves

pytestmark = [needs("ours"), needs("root")]

SECRET = "of the host"
ALONE = (
    "cap-audit-read", "cap-audit-write", "cap-bpf", "cap-checkpoint-restore", "cap-chown",
    "cap-dac-override", "cap-dac-read-search", "cap-fowner", "cap-fsetid", "cap-ipc-lock",
    "cap-ipc-owner", "cap-lease", "cap-linux-immutable", "cap-mknod", "cap-net-admin",
    "cap-net-bind-service", "cap-net-raw", "cap-perfmon", "cap-setfcap", "cap-setgid",
    "cap-setpcap", "cap-setuid", "cap-sys-admin", "cap-sys-boot", "cap-sys-chroot",
    "cap-sys-module", "cap-sys-nice", "cap-sys-pacct", "cap-sys-ptrace", "cap-sys-rawio",
    "cap-sys-resource", "cap-sys-time", "cap-sys-tty-config", "cap-syslog", "cap-wake-alarm",
)  # fmt: skip
# Capabilities that do the work of others as well.
IMPLIES = {"cap-sys-admin": {"cap-bpf", "cap-checkpoint-restore", "cap-perfmon"}}
# What a kernel may lack: audit, attributes on tmpfs, perf, modules, process accounting.
OPTIONAL = {
    "cap-audit-read", "cap-audit-write", "cap-linux-immutable", "cap-perfmon", "cap-sys-module",
    "cap-sys-pacct",
}  # fmt: skip


@pytest.fixture
def handle(box: Box) -> Generator[str]:
    """The handle of a secret file, of which the container has the file system but not the file."""
    disk = box.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "decoy", disk], check=True)
    try:
        (disk / "shared").mkdir()
        (disk / "secret").write_text(SECRET)
        kind, data = file_handle(disk / "secret")
        yield f"{kind}:{data.hex()}:/d:{SECRET}"
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def file_handle(path: Path) -> tuple[int, bytes]:
    """Type and bytes of a file's handle: name_to_handle_at(2)."""
    room = ctypes.create_string_buffer(8 + 128)
    room[0:4] = (128).to_bytes(4, "little")  # type: ignore[assignment]
    libc = ctypes.CDLL(None, use_errno=True)
    mount_id = ctypes.c_int()
    failed = libc.name_to_handle_at(-100, bytes(path), room, ctypes.byref(mount_id), 0)
    assert not failed, os.strerror(ctypes.get_errno())
    size, kind = (int.from_bytes(room[at : at + 4], "little") for at in (0, 4))
    return kind, bytes(room[8 : 8 + size])


def capability(rule: str) -> str:
    return rule.upper().replace("-", "_")


def with_files(box: Box, *args: str) -> Bundle:
    """A bundle with files of another user, and one of another group."""
    bundle = box.bundle("/probe", "reach", *args)
    for name, mode in (("chown", 0o666), ("closed", 0), ("chmod", 0o666), ("lease", 0o666)):
        (bundle.rootfs / name).touch()
        (bundle.rootfs / name).chmod(mode)
        os.chown(bundle.rootfs / name, 1234, 1234)
    (bundle.rootfs / "setgid").touch()
    os.chown(bundle.rootfs / "setgid", 0, 1234)
    return bundle


@proves(*ALONE)
@pytest.mark.parametrize("bit", range(len(ALONE).bit_length()))
@pytest.mark.parametrize("value", [0, 1])
def test_a_capability_does_what_its_finding_says(
    box: Box, handle: str, bit: int, value: int
) -> None:
    """Twelve containers instead of one for each capability: of any two, one has the one without the
    other, so that each act is known to need its own capability and no further one.
    """
    held = {name for place, name in enumerate(ALONE) if place >> bit & 1 == value}
    if missing("CAP_SYS_RESOURCE"):
        held.discard("cap-sys-resource")
    acts = [f"{one}={handle}" if one == "cap-dac-read-search" else one for one in ALONE]
    bundle = with_files(box, *acts)
    bundle.add_mount("/d", "bind", str(box.folder / "disk/shared"), "rbind", "ro")
    grant(bundle, *map(capability, held))
    answers = dict(zip(ALONE, json.loads(box.output(bundle)), strict=True))
    lacking = {name for name, answer in answers.items() if answer == -1}
    assert lacking <= OPTIONAL, "this kernel has it"
    done = {name for name, answer in answers.items() if answer == 0}
    if int(Path("/proc/sys/kernel/perf_event_paranoid").read_text()) < 1:  # everybody may
        lacking.add("cap-perfmon")
        done.discard("cap-perfmon")
    for name in held:
        done -= IMPLIES.get(name, set()) - held
    assert done == held - lacking


def test_each_of_them_is_found(box: Box) -> None:
    bundle = box.bundle()
    grant(bundle, *map(capability, ALONE))
    assert {*ALONE} - {*of_bundle(box, bundle)} == set()


# Grades in the pid namespace of the host, and in one of its own.
WORSE = {"cap-kill": "high", "cap-sys-ptrace": "critical", "cap-audit-control": "medium", "": ""}
BETTER = {
    "cap-kill": "low", "cap-sys-ptrace": "medium", "cap-audit-control": "low", "": "",
}  # fmt: skip


@pytest.fixture
def decoys() -> Generator[dict[int, int]]:
    """Processes of the host, of root and of another user: their pids by uid."""
    started = {uid: subprocess.Popen(["sleep", "60"], user=uid) for uid in (0, 1234)}
    yield {uid: process.pid for uid, process in started.items()}
    for process in started.values():
        process.kill()
        process.wait()


@proves("cap-kill", "cap-sys-ptrace", "cap-audit-control", "host-pid")
@pytest.mark.parametrize("rule", ["cap-kill", "cap-sys-ptrace", "cap-audit-control", ""])
@pytest.mark.parametrize("of_the_host", [True, False])
def test_in_the_pid_namespace_of_the_host_capabilities_reach_its_processes(
    box: Box, decoys: dict[int, int], rule: str, of_the_host: bool
) -> None:
    """Signal 0 to a process of another user, the environment of one of root, the audit status."""
    script = (
        f"/probe reach cap-kill={decoys[1234]} cap-audit-control; "
        f"cat /proc/{decoys[0]}/cmdline >/dev/null 2>&1 && echo seen; "
        f"cat /proc/{decoys[0]}/environ >/dev/null 2>&1 && echo traced; true"
    )
    bundle = box.bundle("/bin/sh", "-c", script)
    if of_the_host:
        bundle.drop_namespace("pid")
    if rule:
        grant(bundle, capability(rule))
    found = of_bundle(box, bundle)
    assert found.get("host-pid") == ("high" if of_the_host else None)
    assert found.get(rule, "") == (WORSE if of_the_host else BETTER)[rule]
    first, _, rest = box.output(bundle).partition("\n")
    signalled, audited = json.loads(first)
    assert (signalled == 0) == (rule == "cap-kill" and of_the_host)
    assert ("seen" in rest) == of_the_host
    assert ("traced" in rest) == (rule == "cap-sys-ptrace" and of_the_host)
    if audited != -1:  # a kernel with audit
        assert (audited == 0) == (rule == "cap-audit-control" and of_the_host)
