"""What the audit says can be reached is reached, in real containers.

Every host thing that is reached for is a decoy of the test.

Source: docs/audit.md.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest
from harness import bad_bundles
from harness.audit import audit, grant, of_bundle
from harness.box import EMPTY, Box
from harness.needs import needs
from harness.proofs import proves

pytestmark = [needs("ours"), needs("root")]

# System calls without an effect, by what the audit calls them: x86_64's numbers, and arguments.
HARMLESS = {
    "keyctl": "250,0,0xfffffffffffffffd,0",
    "add_key": "248,0,0,0,0,0",
    "request_key": "249,0,0,0,0",
    "ptrace": "101,16,4000000",
    "process_vm_readv": "310,4000000,0,0,0,0,0",
    "process_vm_writev": "311,4000000,0,0,0,0,0",
    "kcmp": "312,4000000,4000000,0,0,0",
    "pidfd_getfd": "438,999,0,0",
    "userfaultfd": "323,0xffff",
    "io_uring_setup": "425,0,0",
    "perf_event_open": "298,0,0,0,0,0",
    "bpf": "321,0xffff,0,0",
    "clone3": "435,0,0",
    "unshare": "272,0x10000000",
}


@proves("host-network")
@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_network_namespace_reaches_what_listens_on_loopback(
    box: Box, shared: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        Thread(target=hang_up, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        script = f"busybox nc 127.0.0.1 {port} </dev/null && echo connected"
        bundle = box.bundle("/bin/sh", "-c", script)
        if shared:
            bundle.drop_namespace("network")
        assert of_bundle(box, bundle).get("host-network") == ("high" if shared else None)
        box.container(bundle).run()
        assert ("connected" in box.runtime.calls[-1].stdout) == shared


def hang_up(listener: socket.socket) -> None:
    """Take one connection, and close it."""
    with suppress(OSError):
        listener.accept()[0].close()


@proves("host-ipc")
@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_ipc_namespace_shows_shared_memory(box: Box, shared: bool) -> None:
    libc = ctypes.CDLL(None)
    key = 0x0C1A0000 | os.getpid() & 0xFFFF
    segment = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT
    assert segment >= 0
    try:
        bundle = box.bundle("/bin/cat", "/proc/sysvipc/shm")
        if shared:
            bundle.drop_namespace("ipc")
        assert of_bundle(box, bundle).get("host-ipc") == ("medium" if shared else None)
        assert (f" {key} " in f" {box.output(bundle)} ") == shared
    finally:
        libc.shmctl(segment, 0, None)  # IPC_RMID


@proves("writable-kernel-path")
@pytest.mark.parametrize("covered", [True, False])
def test_a_kernel_path_that_is_not_covered_can_be_written(box: Box, covered: bool) -> None:
    """It is opened for writing, and nothing is written."""
    bundle = box.bundle()
    if covered:
        bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
    rule = of_bundle(box, bundle).get("writable-kernel-path")
    assert rule == (None if covered else "critical")
    answer = box.attempts(bundle, "write:/proc/sys/kernel/core_pattern")
    assert answer == [errno.EROFS if covered else 0]


@proves("unmasked-path")
@pytest.mark.parametrize("masked", [True, False])
def test_a_kernel_path_that_is_not_masked_can_be_read(box: Box, masked: bool) -> None:
    bundle = box.bundle()
    bundle.linux["maskedPaths"] = ["/proc/keys"] if masked else []
    bundle.save()
    sentences = [one["sentence"] for one in audit(box, f"{bundle.path}/")["findings"]]
    assert any("/proc/keys is not masked" in one for one in sentences) != masked
    assert box.attempts(bundle, "read:/proc/keys") == [EMPTY if masked else 0]


@proves("host-socket")
def test_a_socket_of_an_engine_is_reached(box: Box) -> None:
    path = box.folder / "docker.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as engine:
        engine.bind(str(path))
        bundle = box.bundle("/probe", "notify", "privileged")
        bundle.process["env"].append("NOTIFY_SOCKET=/d.sock")
        bundle.add_mount("/d.sock", "bind", str(path), "rbind", "ro")
        assert of_bundle(box, bundle)["host-socket"] == "critical"
        box.container(bundle).run()
        engine.settimeout(5)
        assert engine.recv(64) == b"privileged"


@proves("host-root")
def test_the_root_of_the_host_is_reached(box: Box) -> None:
    secret = box.folder / "secret"
    secret.write_text("of the host\n")
    bundle = box.bundle("/bin/cat", f"/host{secret}", noNewPrivileges=True)
    bundle.add_mount("/host", "bind", "/", "rbind", "ro", "rprivate")
    assert of_bundle(box, bundle)["host-root"] == "high"
    assert box.output(bundle) == "of the host\n"


@proves("setuid-for-the-host")
def test_root_leaves_a_setuid_program_for_the_host(box: Box, shared: Path) -> None:
    script = "cp /bin/busybox /d/su && chmod 4755 /d/su"
    bundle = box.bundle("/bin/sh", "-c", script)
    bundle.add_mount("/d", "bind", str(shared), "rbind")
    assert of_bundle(box, bundle)["setuid-for-the-host"] == "medium"
    box.output(bundle)
    status = (shared / "su").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o4755)


@proves("setuid-files")
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_setuid_program_gives_its_rights_to_another_user(box: Box, no_new_privs: bool) -> None:
    bundle = box.bundle("/suid", user={"uid": 1000, "gid": 1000}, noNewPrivileges=no_new_privs)
    program = bundle.rootfs / "suid"
    program.write_bytes((bundle.rootfs / "probe").read_bytes())
    program.chmod(0o4755)
    found = of_bundle(box, bundle)
    assert ("setuid-files" in found) == (not no_new_privs)
    assert ("no-new-privs-off" in found) == (not no_new_privs)
    assert (box.report(bundle)["uids"][1] == 0) == (not no_new_privs)


@proves("device-rules")
@needs("CAP_MKNOD")
@pytest.mark.parametrize("wide", [True, False])
def test_device_rules_decide_whether_a_disk_can_be_opened(box: Box, wide: bool) -> None:
    """The first loop device, with nothing behind it or not there at all; EPERM is the rules'."""
    bundle = box.bundle()
    grant(bundle, "CAP_MKNOD")
    bundle.linux["resources"] = {"devices": [{"allow": wide, "access": "rwm"}]}
    assert of_bundle(box, bundle).get("device-rules") == ("critical" if wide else None)
    made, opened = box.attempts(bundle, "mknodb:/disk", "open:/disk")
    assert made == 0
    assert (opened == errno.EPERM) == (not wide)


@proves("shared-propagation")
def test_a_shared_mount_appears_on_the_host(box: Box) -> None:
    peer = box.folder / "peer"
    (peer / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "decoy", peer], check=True)
    try:
        (peer / "below").mkdir()
        subprocess.run(["mount", "--make-shared", peer], check=True)
        bundle = box.bundle("/bin/mount", "-t", "tmpfs", "planted", "/d/below")
        bundle.add_mount("/d", "bind", str(peer), "rbind", "rshared")
        bundle.linux["rootfsPropagation"] = "shared"
        grant(bundle, "CAP_SYS_ADMIN")
        assert of_bundle(box, bundle)["shared-propagation"] == "medium"
        box.output(bundle)
        assert f" {peer}/below " in Path("/proc/self/mountinfo").read_text()
    finally:
        subprocess.run(["umount", "-R", peer], check=True)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="this is not about other machines")
@pytest.mark.parametrize("profile", ["hardened", "engines"])
def test_what_the_filter_lets_through_is_let_through(box: Box, profile: str) -> None:
    """Each call that the audit names is made in the container, and each that it does not name."""
    bundle = box.bundle("/probe", "call", *HARMLESS.values(), noNewPrivileges=True)
    if profile == "hardened":
        bundle.linux["seccomp"] = bad_bundles.good()["linux"]["seccomp"]
    else:
        bundle.linux["seccomp"] = bad_bundles.shape("seccomp")
    bundle.save()
    findings = audit(box, f"{bundle.path}/")["findings"]
    lists = [
        one["sentence"].partition(": ")[2].rstrip(".").partition(";")[0]
        for one in findings
        if one["rule"].startswith("seccomp-")
    ]
    named = {name for line in lists for name in line.split(", ")} & set(HARMLESS)
    answers = dict(zip(HARMLESS, json.loads(box.output(bundle)), strict=True))
    # The profiles refuse by EPERM, clone3 by ENOSYS; the kernel's own answers to these calls are
    # others, but for what needs a capability, which the audit then says.
    for name, answer in answers.items():
        if name in named:
            assert answer != errno.ENOSYS, (name, answer)
        else:
            assert answer in (errno.EPERM, errno.ENOSYS), (name, answer)
    if profile == "hardened":
        assert named == set()
    else:
        assert {"unshare", "keyctl", "ptrace"} <= named
        assert answers["unshare"] == 0
