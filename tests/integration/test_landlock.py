"""The annotations org.ocirun.landlock.*, and that everything else works beside them.

Source: docs/landlock.md.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from harness.audit import grant
from harness.box import Box
from harness.bundle import Bundle
from harness.fake_criu import FakeCriu
from harness.needs import needs
from harness.saved import Saved

PREFIX = "org.ocirun.landlock."
pytestmark = [needs("ours"), needs("root"), needs(kernel=(6, 12))]


def confine(bundle: Bundle, **lists: object) -> Bundle:
    """Add annotations: `read_only=["/"]` for org.ocirun.landlock.read-only."""
    bundle.config.setdefault("annotations", {}).update(
        {PREFIX + name.replace("_", "-"): json.dumps(value) for name, value in lists.items()}
    )
    return bundle


CALLS = (
    "read:/etc/hostname",
    "read:/etc/passwd",
    "create:/tmp/made",
    "unlink:/tmp/made",
    "create:/root/made",
    "write:/etc/hostname",
)


@pytest.mark.parametrize("no_new_privs", [True, False])
@pytest.mark.parametrize("uid", [0, 1000])
def test_files_are_refused_that_permissions_allow(box: Box, uid: int, no_new_privs: bool) -> None:
    bundle = box.bundle(user={"uid": uid, "gid": uid}, noNewPrivileges=no_new_privs)
    (bundle.rootfs / "root").chmod(0o777)
    (bundle.rootfs / "etc/hostname").chmod(0o666)
    assert box.attempts(bundle, *CALLS) == [0] * 6
    (bundle.rootfs / "root/made").unlink()
    confine(bundle, execute=["/probe"], read_only=["/etc/hostname"], read_write=["/tmp"])
    refused = errno.EACCES
    assert box.attempts(bundle, *CALLS) == [0, refused, 0, 0, refused, refused]


@needs("userns")
def test_files_are_refused_in_a_user_namespace(box: Box) -> None:
    bundle = box.bundle()
    bundle.use_userns((0, 100000, 65536))
    confine(bundle, execute=["/probe"], read_only=["/etc/hostname"])
    assert box.attempts(bundle, *CALLS[:3]) == [0, errno.EACCES, errno.EACCES]


def test_what_may_not_be_executed_is_not(box: Box) -> None:
    bundle = confine(
        box.bundle("/bin/sh", "-c", "/probe exit 3"), execute=["/bin"], read_only=["/"]
    )
    result = box.container(bundle).run()
    assert result.status == 126
    assert "Permission denied" in result.stderr
    confine(bundle, execute=["/bin", "/probe"])
    assert box.container(bundle).run().status == 3


def test_a_program_that_is_not_allowed_is_not_started(box: Box) -> None:
    bundle = confine(box.bundle("/probe", "exit", "0"), execute=["/bin"])
    container = box.created(bundle)
    container.start().ok()
    container.wait_status("stopped")
    assert "exec /probe: permission denied" in container.errors


def test_mounts_made_before_work(box: Box, shared: Path) -> None:
    """Bind mounts, masked and read-only paths; and the container cannot mount by itself."""
    bundle = box.bundle()
    (bundle.rootfs / "data").mkdir()
    bundle.add_mount("/data", "bind", str(shared), "rbind")
    grant(bundle, "CAP_SYS_ADMIN")
    bundle.linux["maskedPaths"] = ["/etc/passwd"]
    bundle.linux["readonlyPaths"] = ["/data/below"]
    (shared / "below").mkdir()
    confine(bundle, execute=["/probe"], read_only=["/proc", "/etc"], read_write=["/data"])
    calls = ("create:/data/made", "read:/data/file", "read:/etc/passwd", "read:/proc/self/status",
             "create:/data/below/x", "mount:/tmp")  # fmt: skip
    assert box.attempts(bundle, *calls) == [0, 0, -1, 0, errno.EROFS, errno.EPERM]
    assert (shared / "made").exists()


def test_mounts_are_added_to_a_confined_container(box: Box, shared: Path) -> None:
    bundle = confine(box.bundle("/probe", "wait"), execute=["/probe", "/bin"], read_only=["/tmp"])
    container = box.running(bundle)
    file = box.folder / "mounts.json"
    entry = {"destination": "/tmp", "type": "bind", "source": str(shared), "options": ["rbind"]}
    file.write_text(json.dumps([entry]))
    box.runtime.call("mounts", "add", container.id, file).ok()
    box.runtime.call("mounts", "remove", container.id, file).ok()


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_process_of_exec_is_confined(box: Box, uid: int) -> None:
    bundle = confine(box.bundle("/probe", "wait"), execute=["/probe"], read_only=["/etc/hostname"])
    container = box.running(bundle)
    done = container.exec("/probe", "try", *CALLS[:3], flags=("--user", f"{uid}:{uid}")).ok()
    answers = [one["errno"] for one in done.json()]
    assert answers == [0, errno.EACCES, errno.EACCES]
    container.exec("/bin/true").failed("exec /bin/true: permission denied")


def test_paths_are_resolved_inside_the_root(box: Box) -> None:
    """A link to an absolute path leads to the container's own, and none leads out."""
    bundle = box.bundle()
    outside = box.folder / "outside"
    outside.mkdir()
    (bundle.rootfs / "link").symlink_to("/etc")
    (bundle.rootfs / "out").symlink_to(f"../../../../../..{outside}")
    confine(bundle, execute=["/probe"], read_only=["/link"])
    assert box.attempts(bundle, "read:/etc/hostname") == [0]
    confine(bundle, read_only=["/out"])
    container = box.container(bundle)
    container.run().failed("allowing /out by the annotation", "no such file or directory")
    box.runtime.call("state", container.id).failed("does not exist")


@pytest.mark.parametrize("allowed", [True, False])
def test_ports_are_refused(box: Box, allowed: bool) -> None:
    script = (
        "busybox nc -w 1 127.0.0.1 81 </dev/null 2>&1; "
        "timeout 0.2 busybox nc -l -p 8082 </dev/null 2>&1; true"
    )
    bundle = box.bundle("/bin/busybox", "sh", "-c", script.replace("timeout", "busybox timeout"))
    bound, connected = ([8082], [81]) if allowed else ([], [80])
    said = box.output(confine(bundle, tcp_bind=bound, tcp_connect=connected))
    assert said.count("Permission denied") == (0 if allowed else 2), said
    assert ("refused" in said) == allowed


@pytest.mark.parametrize("scoped", [True, False])
def test_signals_stay_inside(box: Box, scoped: bool) -> None:
    """In the host's pid namespace, to a process of the test's."""
    bundle = box.bundle("/bin/sh", "-c", f"kill -0 {os.getpid()}; echo $?")
    bundle.drop_namespace("pid")
    grant(bundle, "CAP_KILL")
    if scoped:
        confine(bundle, scope=["signals", "abstract-sockets"])
    assert box.output(bundle).split()[-1] == str(int(scoped))
    # From outside it is signalled as ever.
    if scoped:
        container = box.running(confine(box.bundle("/probe", "wait"), scope=["signals"]))
        container.kill("TERM").ok()
        container.wait_status("stopped")


def test_a_seccomp_filter_need_not_allow_its_calls(box: Box) -> None:
    bundle = confine(box.bundle(noNewPrivileges=True), execute=["/probe"])
    names = ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    assert box.attempts(bundle, "read:/etc/hostname") == [errno.EACCES]


def test_hooks_of_start_are_confined_as_well(box: Box) -> None:
    bundle = confine(box.bundle("/probe", "exit", "0"), execute=["/probe"])
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/true", "args": ["true"]}]}
    container = box.created(bundle)
    container.start().failed("permission denied")
    container.delete("--force").ok()
    confine(bundle, execute=["/probe", "/bin"])
    assert box.container(bundle).run().status == 0


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("read-only", '["relative"]', "is not an absolute path"),
        ("read-only", "/etc", "is not JSON"),
        ("execute", '{"a": 1}', "must be a list in JSON"),
        ("tcp-bind", "[65536]", "is not a port: 0 to 65535"),
        ("scope", '["everything"]', "is not one of signals, abstract-sockets"),
        ("readonly", "[]", "is not an annotation of Landlock's"),
    ],
)
def test_a_wrong_annotation_is_refused_by_create_and_validate(
    box: Box, annotation: str, value: str, words: str
) -> None:
    bundle = box.bundle()
    bundle.config["annotations"] = {PREFIX + annotation: value}
    container = box.container(bundle)
    container.create().failed(f"/annotations/{PREFIX}{annotation}: ", words)
    box.runtime.call("state", container.id).failed("does not exist")
    done = box.runtime.call("validate", bundle.path)
    assert done.status == 1
    assert words in done.stdout


def test_a_path_that_is_not_there_leaves_nothing(box: Box) -> None:
    container = box.container(confine(box.bundle(), execute=["/probe"], read_only=["/nowhere"]))
    container.create().failed(
        f"allowing /nowhere by the annotation {PREFIX}read-only", "no such file or directory"
    )
    box.runtime.call("state", container.id).failed("does not exist")


def test_features_and_doctor_tell_the_abi(box: Box) -> None:
    abi = int(box.runtime.call("features").ok().json()["annotations"][PREFIX + "abi"])
    assert abi >= 6
    findings = box.runtime.call("doctor", "--format", "json").ok().json()["findings"]
    (found,) = [one["found"] for one in findings if one["name"] == "Landlock"]
    assert found == f"ABI {abi}"
    unsafe = box.runtime.call("features").ok().json()["potentiallyUnsafeConfigAnnotations"]
    assert not [name for name in unsafe if "landlock" in name]


def test_a_checkpoint_works_and_a_restore_is_refused(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CRIU restores no Landlock domain: what comes back would not be confined."""
    fake = FakeCriu(box.folder / "bin")
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    saved = Saved(box)
    confine(saved.bundle, read_only=["/"], execute=["/probe"])
    with saved.run() as running:
        running.checkpoint().ok()
        running.restore().failed("CRIU does not restore", f"/annotations/{PREFIX}")
        assert fake.types[-1] == "VERSION"
