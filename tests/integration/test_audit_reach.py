"""What the audit says about ids, mounts, devices, cgroups, limits and hooks, done in containers.

Every host thing that is reached for is a decoy of the test.

Source: docs/audit.md.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest
from harness import bad_bundles
from harness.audit import audit, grades, grant, of_bundle
from harness.box import Box
from harness.machine import MARK
from harness.needs import needs
from harness.proofs import proves

from ocirun.kernel.libseccomp import Library

pytestmark = [needs("ours"), needs("root")]

SECRET = "of the host\n"
UNLIKE_THE_KERNEL = 133  # EHWPOISON: no call that is made here fails so
TUN, LOOP_CONTROL = (10, 200), (10, 237)


@proves("root-is-host-root", "writable-root", "writable-executable", "no-new-privs-off")
def test_root_runs_what_it_writes_and_owns_it_on_the_host(box: Box) -> None:
    script = "for place in / /tmp/; do cp /bin/busybox ${place}id && ${place}id -u; done"
    bundle = box.bundle("/bin/sh", "-c", script)
    bundle.add_mount("/tmp", "tmpfs", "tmpfs")
    found = of_bundle(box, bundle)
    assert (found["root-is-host-root"], found["writable-root"]) == ("medium", "low")
    assert (found["writable-executable"], found["no-new-privs-off"]) == ("note", "medium")
    assert box.output(bundle) == "0\n0\n"
    assert (bundle.rootfs / "id").stat().st_uid == 0
    (bundle.rootfs / "id").unlink()
    bundle.config["root"]["readonly"] = True
    bundle.mounts[-1]["options"] = ["noexec"]
    bundle.save()
    found = audit(box, f"{bundle.path}/")
    assert "writable-root" not in grades(found)
    pointers = [one["pointer"] for one in found["findings"] if one["rule"] == "writable-executable"]
    assert pointers == ["/mounts/1"]  # /dev, and not /tmp
    refused = box.container(bundle).run().stderr
    assert "can't create '/id': Read-only file system" in refused
    assert "/tmp/id: Permission denied" in refused


@proves("mapping-includes-host-root")
@needs("userns")
@pytest.mark.parametrize("first", [0, 100000])
def test_a_mapped_host_root_writes_its_files(box: Box, shared: Path, first: int) -> None:
    (shared / "file").chmod(0o600)
    bundle = box.bundle()
    bundle.use_userns((0, first, 65536))
    bundle.add_mount("/d", "bind", str(shared), "rbind")
    assert ("mapping-includes-host-root" in of_bundle(box, bundle)) == (first == 0)
    assert box.attempts(bundle, "write:/d/file") == [0 if first == 0 else errno.EACCES]


@proves("host-groups")
@pytest.mark.parametrize("groups", [[6], []])
def test_a_group_of_the_system_reads_its_files(box: Box, shared: Path, groups: list[int]) -> None:
    os.chown(shared / "file", 0, 6)  # Debian's "disk"
    (shared / "file").chmod(0o040)
    bundle = box.bundle(user={"uid": 1000, "gid": 1000, "additionalGids": groups})
    bundle.add_mount("/d", "bind", str(shared), "rbind", "ro")
    assert of_bundle(box, bundle).get("host-groups") == ("medium" if groups else None)
    assert box.attempts(bundle, "read:/d/file") == [0 if groups else errno.EACCES]


@pytest.fixture
def other_world() -> Generator[str]:
    """A process with an uts namespace of its own; gives the path of that."""
    script = "hostname decoy-of-a-test && echo ready && exec sleep 60"
    with subprocess.Popen(
        ["unshare", "--uts", "sh", "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield f"/proc/{process.pid}/ns/uts"
        process.kill()


@proves("host-uts", "host-cgroup", "joined-namespace")
def test_shared_namespaces_show_names_and_cgroups(box: Box, other_world: str) -> None:
    bundle = box.bundle("/bin/sh", "-c", "busybox hostname; cat /proc/self/cgroup")
    bundle.set_namespace("cgroup")
    bundle.config["hostname"] = "of-its-own"
    assert {"host-uts", "host-cgroup", "joined-namespace"} & {*of_bundle(box, bundle)} == set()
    name, *cgroups = box.output(bundle).splitlines()
    assert name == "of-its-own"
    assert {line.partition(":")[2].partition(":")[2] for line in cgroups} == {"/"}

    del bundle.config["hostname"]
    bundle.set_namespace("uts", other_world)
    assert of_bundle(box, bundle)["joined-namespace"] == "note"
    assert box.output(bundle).splitlines()[0] == "decoy-of-a-test"

    bundle.drop_namespace("uts")
    bundle.drop_namespace("cgroup")
    found = of_bundle(box, bundle)
    assert (found["host-uts"], found["host-cgroup"]) == ("low", "low")
    container = box.container(bundle)
    name, *cgroups = container.run().ok().stdout.splitlines()
    assert name == os.uname().nodename
    assert any(line.endswith(f"/{container.id}") for line in cgroups)


@proves("host-mount")
@pytest.mark.parametrize("of_the_host", [True, False])
def test_without_a_mount_namespace_it_mounts_on_the_host(box: Box, of_the_host: bool) -> None:
    """The host is the mount namespace of the test, and the place is in the bundle."""
    bundle = box.bundle("/bin/mount", "-t", "tmpfs", "planted", "/tmp")
    grant(bundle, "CAP_SYS_ADMIN")
    if of_the_host:
        bundle.drop_namespace("mount")
        bundle.config["mounts"] = []
    found = of_bundle(box, bundle)
    assert found.get("host-mount") == ("critical" if of_the_host else None)
    place = bundle.rootfs / "tmp"
    box.output(bundle)
    appeared = f" {place} " in Path("/proc/self/mountinfo").read_text()
    if appeared:
        subprocess.run(["umount", place], check=True)
    assert appeared == of_the_host


@pytest.fixture
def system_folder() -> Generator[Path]:
    """A folder of the test's among those that the host trusts."""
    folder = Path(f"/run/{MARK}-decoy")
    folder.mkdir()
    (folder / "file").write_text(SECRET)
    yield folder
    shutil.rmtree(folder)


@proves("host-path")
def test_directories_of_the_host_are_read_and_written(
    box: Box, shared: Path, system_folder: Path
) -> None:
    for source, options, grade in (
        (system_folder, ["rbind"], "critical"),
        (system_folder, ["rbind", "ro"], "medium"),
        (shared, ["rbind", "nosuid"], "low"),
    ):
        bundle = box.bundle("/bin/sh", "-c", "cat /d/file; echo planted > /d/new")
        bundle.add_mount("/d", "bind", str(source), *options)
        assert of_bundle(box, bundle)["host-path"] == grade
        assert box.container(bundle).run().stdout == SECRET
        assert (source / "new").exists() == ("ro" not in options)
        (source / "new").unlink(missing_ok=True)


@proves("mounted-device")
@needs("CAP_MKNOD", "cgroup devices")
@pytest.mark.parametrize("number", [TUN, LOOP_CONTROL])
def test_a_mounted_device_is_opened_if_the_rules_let_it(box: Box, number: tuple[int, int]) -> None:
    """Of tun and the loop devices; both are only opened."""
    node = box.folder / "node"
    os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(*number))
    bundle = box.bundle()
    bundle.add_mount("/node", "bind", str(node), "bind")
    assert of_bundle(box, bundle).get("mounted-device") == ("medium" if number == TUN else None)
    (answer,) = box.attempts(bundle, "open:/node")
    assert (answer == errno.EPERM) == (number != TUN)


@pytest.fixture
def disk(box: Box) -> Generator[tuple[int, int]]:
    """A disk with a secret in it: a file of the test's behind a loop device."""
    image = box.folder / "image"
    image.write_bytes(SECRET.encode().ljust(1 << 20, b"\0"))
    try:
        done = subprocess.run(
            ["losetup", "--find", "--show", "--read-only", image],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError:
        pytest.skip("this machine has no block device")
    path = done.stdout.strip()
    number = os.stat(path).st_rdev
    yield os.major(number), os.minor(number)
    subprocess.run(["losetup", "--detach", path], check=True)


@proves("device-node", "device-rules")
@needs("CAP_MKNOD", "cgroup devices", "tool losetup")
def test_a_disk_is_read_below_its_file_system(box: Box, disk: tuple[int, int]) -> None:
    """By a node of linux.devices, and by one that the container makes."""
    major, minor = disk
    rule = {"allow": True, "type": "b", "major": major, "minor": minor, "access": "r"}
    bundle = box.bundle("/bin/sh", "-c", "busybox head -n 1 /dev/disk")
    bundle.linux["devices"] = [{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}]
    assert "device-node" not in of_bundle(box, bundle)
    assert SECRET not in box.container(bundle).run().stdout
    bundle.linux["resources"] = {"devices": [rule]}
    assert of_bundle(box, bundle)["device-node"] == "critical"
    assert box.output(bundle) == SECRET

    script = f"mknod /disk b {major} {minor} && busybox head -n 1 /disk"
    maker = box.bundle("/bin/sh", "-c", script)
    maker.linux["resources"] = {"devices": [rule]}
    grant(maker, "CAP_MKNOD")
    assert of_bundle(box, maker)["device-rules"] == "critical"
    assert box.output(maker) == SECRET


@proves("cgroup-writable", "pids-unlimited")
@needs("cgroup pids")
@pytest.mark.parametrize("writable", [True, False])
def test_a_writable_cgroup_is_a_limit_that_the_container_sets(box: Box, writable: bool) -> None:
    """It forks more than its limit once it has taken that away."""
    fork = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done"
    free = "for f in pids/pids.max pids.max; do [ -e $f ] && echo max > $f; done 2>&1"
    bundle = box.bundle("/bin/sh", "-c", f"cd /sys/fs/cgroup; {free}; {fork}")
    bundle.set_namespace("cgroup")
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup", *([] if writable else ["ro"]))
    found = of_bundle(box, bundle)
    assert found.get("cgroup-writable") == ("medium" if writable else None)
    assert "pids-unlimited" not in found
    result = box.container(bundle).run()
    assert ("can't fork" in result.stdout + result.stderr) == (not writable)


@proves("cgroup-writable")
@needs("cgroup v1")
def test_cap_sys_admin_reaches_the_release_agent(box: Box) -> None:
    """Of a hierarchy of the test's own, and nothing is written."""
    script = (
        f"mkdir /cg && mount -t cgroup -o none,name={MARK} none /cg && "
        "/probe try write:/cg/release_agent"
    )
    bundle = box.bundle("/bin/sh", "-c", script)
    grant(bundle, "CAP_SYS_ADMIN")
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup")
    assert of_bundle(box, bundle)["cgroup-writable"] == "critical"
    (answer,) = json.loads(box.output(bundle))
    assert answer["errno"] == 0


@proves("memory-unlimited")
@needs("cgroup memory")
@pytest.mark.parametrize("limited", [True, False])
def test_without_a_limit_memory_is_taken(box: Box, limited: bool) -> None:
    bundle = box.bundle("/bin/sh", "-c", "busybox head -c 24m /dev/zero | tail -c 24m | wc -c")
    if limited:
        limits = {"limit": 16 << 20, "swap": 16 << 20}
        bundle.linux["resources"] = {"memory": limits}
    assert ("memory-unlimited" in of_bundle(box, bundle)) == (not limited)
    assert (str(24 << 20) in box.container(bundle).run().stdout) == (not limited)


@proves("oom-protected")
@needs("CAP_SYS_RESOURCE")
def test_a_negative_oom_score_is_the_process_s(box: Box) -> None:
    bundle = box.bundle("/bin/cat", "/proc/self/oom_score_adj", oomScoreAdj=-500)
    assert of_bundle(box, bundle)["oom-protected"] == "low"
    assert box.output(bundle) == "-500\n"


@proves("hook-on-the-host", "hook-in-the-container")
def test_a_hook_in_a_shared_folder_runs_what_the_container_writes(box: Box, shared: Path) -> None:
    proof = box.folder / "written-by-the-host"
    for name in ("mine", "theirs"):
        (shared / name).write_text("#!/bin/sh\n")
        (shared / name).chmod(0o755)
    harmless = box.folder / "harmless"
    harmless.write_text(f"#!/bin/sh\necho hook >> {proof}\n")
    harmless.chmod(0o755)
    script = f"echo 'echo container >> {proof}' >> /d/theirs"
    bundle = box.bundle("/bin/sh", "-c", script)
    bundle.add_mount("/d", "bind", str(shared), "rbind", "nosuid")
    hooks = [{"path": str(harmless)}, {"path": str(shared / "theirs")}]
    bundle.config["hooks"] = {"poststop": hooks}
    found = of_bundle(box, bundle)
    assert (found["hook-on-the-host"], found["hook-in-the-container"]) == ("note", "critical")
    box.output(bundle)
    assert proof.read_text() == "hook\ncontainer\n"


def dangerous(library: Library) -> dict[str, str]:
    """Every call that the audit looks at, in the form of `probe call`, by its name.

    They are made without capabilities and with arguments of nothing. `clone` is left out: the
    probe would go on twice.
    """
    from ocirun.audit.seccomp import GROUPS

    native = library.native_architecture()
    calls = {}
    for _, _, group in GROUPS.values():
        for name, arguments, _ in group:
            number = library.system_call_of(native, name)
            if number >= 0 and name not in ("clone", "socket"):
                calls[name] = ",".join(map(str, (number, *arguments)))
    return calls


@proves(
    "seccomp-kernel-code", "seccomp-machine", "seccomp-mounts", "seccomp-namespaces",
    "seccomp-handles", "seccomp-processes", "seccomp-keyrings", "seccomp-attack-surface",
    "seccomp-sockets",
)  # fmt: skip
@pytest.mark.parametrize("half", [0, 1])
def test_calls_pass_the_filter_exactly_where_the_audit_says_so(box: Box, half: int) -> None:
    """Half of the dangerous calls is allowed; what the filter refuses has an errno of its own."""
    calls = dangerous(Library())
    allowed = sorted(calls)[half::2]
    sockets = {"socket38": "41,38,5,0", "socket40": "41,40,1,0"}
    native_socket = Library().system_call_of(Library().native_architecture(), "socket")
    sockets = {name: text.replace("41", str(native_socket), 1) for name, text in sockets.items()}
    bundle = box.bundle("/probe", "call", *calls.values(), *sockets.values(), noNewPrivileges=True)
    profile = bad_bundles.good()["linux"]["seccomp"]
    profile["defaultErrnoRet"] = UNLIKE_THE_KERNEL
    rules = [
        {**rule, "names": [name for name in rule["names"] if name not in calls]}
        for rule in profile["syscalls"]
    ]
    rules = [rule for rule in rules if rule["names"] and (half or rule["names"] != ["socket"])]
    rules.append({"names": allowed, "action": "SCMP_ACT_ALLOW"})
    if not half:
        rules.append({"names": ["socket"], "action": "SCMP_ACT_ALLOW"})
    profile["syscalls"] = rules
    bundle.linux["seccomp"] = profile
    bundle.save()
    named: set[str] = set()
    for one in audit(box, f"{bundle.path}/")["findings"]:
        if one["rule"].startswith("seccomp-"):
            listed = one["sentence"].partition(": ")[2].partition(";")[0].rstrip(".")
            named.update(listed.split(", "))
    answers = dict(zip([*calls, *sockets], json.loads(box.output(bundle)), strict=True))
    passed = {name for name, answer in answers.items() if answer != UNLIKE_THE_KERNEL}
    assert passed - {*sockets} == {*allowed}
    assert named - {"clone", "socket"} == {*allowed}
    assert ({*sockets} <= passed) == ("socket" in named) == (not half)


@proves("seccomp-absent", "seccomp-default-allow")
def test_without_a_list_every_call_reaches_the_kernel(box: Box) -> None:
    """Of a call that no profile names; without capabilities EPERM is the kernel's answer."""
    library = Library()
    number = library.system_call_of(library.native_architecture(), "swapon")
    bundle = box.bundle("/probe", "call", str(number), noNewPrivileges=True)
    listing = {**bad_bundles.good()["linux"]["seccomp"], "defaultErrnoRet": UNLIKE_THE_KERNEL}
    denial = {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}
    rules = {"seccomp-absent", "seccomp-default-allow"}
    for profile, found, answer in (
        (None, {"seccomp-absent"}, errno.EPERM),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denial]}, {"seccomp-default-allow"},
         errno.EPERM),
        (listing, set(), UNLIKE_THE_KERNEL),
    ):  # fmt: skip
        bundle.linux.pop("seccomp", None)
        if profile:
            bundle.linux["seccomp"] = profile
        assert rules & {*of_bundle(box, bundle)} == found
        assert json.loads(box.output(bundle)) == [answer]


@proves("file-capabilities")
@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_program_with_file_capabilities_gives_them_to_another_user(
    box: Box, no_new_privs: bool
) -> None:
    bundle = box.bundle(
        "/raw", "reach", "cap-net-raw", user={"uid": 1000, "gid": 1000},
        noNewPrivileges=no_new_privs,
    )  # fmt: skip
    bundle.process["capabilities"] = {"bounding": ["CAP_NET_RAW"]}
    program = bundle.rootfs / "raw"
    program.write_bytes((bundle.rootfs / "probe").read_bytes())
    program.chmod(0o755)
    # Permitted and effective: CAP_NET_RAW.
    data = bytes.fromhex("01000002 00200000 00000000 00000000 00000000")
    os.setxattr(program, "security.capability", data)
    bundle.save()
    found = audit(box, f"{bundle.path}/")
    assert ("file-capabilities" in grades(found)) == (not no_new_privs)
    if not no_new_privs:
        (one,) = [one for one in found["findings"] if one["rule"] == "file-capabilities"]
        assert (
            one["sentence"] == "Programs with file capabilities are in reach: /raw (CAP_NET_RAW)."
        )
    (answer,) = json.loads(box.output(bundle))
    assert (answer == 0) == (not no_new_privs)
