"""What the audit reads of running containers, and its exit statuses.

Source: docs/audit.md#a-running-container.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import bad_bundles
from harness.audit import Report, audit, grades, grant, of_bundle
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.cgroups import V2_MOUNT, on_v2_tree
from harness.device_programs import ALLOW, CALL, attached, chain
from harness.machine import MARK
from harness.needs import needs

from ocirun.audit.device_programs import tables_of_cgroup
from ocirun.audit.devices import access
from ocirun.audit.world import World
from ocirun.cgroups.devicerules import OPENING, READ, WRITE

pytestmark = [needs("ours"), needs("root")]


def hardened(box: Box, *args: str) -> Bundle:
    """A bundle that `spec --profile hardened` has written."""
    bundle = box.bundle()
    box.runtime.call("spec", "--profile", "hardened", "--bundle", bundle.path).ok()
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.process["terminal"] = False
    bundle.process["args"] = list(args) or ["/probe", "wait"]
    return bundle


@pytest.mark.lab  # where AppArmor has a name for a process without a profile
def test_a_hardened_container_has_nothing_above_note(box: Box) -> None:
    bundle = hardened(box)
    assert set(of_bundle(box, bundle).values()) == {"note"}
    container = box.running(bundle)
    found = audit(box, container.id)
    assert (found["kind"], found["pid"], found["grade"]) == ("container", container.pid, "note")
    assert found["unknown"] == []
    assert found["differences"] == []
    # It was stopped to be looked at, and runs on.
    assert container.status == "running"
    container.kill("TERM").ok()
    container.wait_status("stopped")


def test_kernel_and_config_agree_about_a_container(box: Box) -> None:
    bundle = box.bundle("/probe", "wait", noNewPrivileges=True)
    grant(bundle, "CAP_NET_RAW", "CAP_SYS_ADMIN")
    bundle.linux["seccomp"] = bad_bundles.shape("seccomp")
    bundle.drop_namespace("ipc")
    bundle.linux["resources"] = {"pids": {"limit": 50}}
    bundle.add_mount("/sys", "sysfs", "sysfs", "ro")
    bundle.add_mount("/sys/fs/cgroup", "cgroup", "cgroup")
    expected = of_bundle(box, bundle)
    assert expected["cgroup-writable"] in ("critical", "medium")
    found = audit(box, box.running(bundle).id)
    assert found["differences"] == []
    assert grades(found) == expected
    assert "" not in {one["pointer"] for one in found["findings"]}


def test_setuid_programs_of_a_mount_are_found_as_in_the_bundle(box: Box, shared: Path) -> None:
    (shared / "su").touch(mode=0o755)
    (shared / "su").chmod(0o4755)
    bundle = box.bundle("/probe", "wait")
    bundle.add_mount("/d", "bind", str(shared), "rbind", "ro")
    expected = of_bundle(box, bundle)
    assert expected["setuid-files"] == "medium"
    found = audit(box, box.running(bundle).id)
    assert grades(found) == expected
    (one,) = [one for one in found["findings"] if one["rule"] == "setuid-files"]
    assert one["sentence"] == "Setuid programs are in reach: /d/su."


NET_RAW = bytes.fromhex("01000002 00200000 00000000 00000000 00000000")  # permitted


def test_programs_with_rights_that_appear_later_are_differences(box: Box) -> None:
    """In a tmpfs, where config.json has none; what a mount covers is in neither."""
    bundle = box.bundle("/probe", "wait", user={"uid": 1000, "gid": 1000})
    bundle.process["capabilities"] = {"bounding": ["CAP_NET_RAW"]}
    bundle.add_mount("/tmp", "tmpfs", "tmpfs")
    covered = bundle.rootfs / "proc/su"
    covered.touch()
    covered.chmod(0o4755)
    container = box.running(bundle)
    assert audit(box, container.id)["differences"] == []
    tmp = Path(f"/proc/{container.pid}/root/tmp")
    for name, mode in (("su", 0o4755), ("raw", 0o755)):
        (tmp / name).touch()
        (tmp / name).chmod(mode)
    os.setxattr(tmp / "raw", "security.capability", NET_RAW)
    found = audit(box, container.id)
    assert difference(found, "setuid programs") == ("none", "/tmp/su")
    assert difference(found, "programs with file capabilities") == ("none", "/tmp/raw")
    sentences = {one["rule"]: one["sentence"] for one in found["findings"]}
    assert sentences["file-capabilities"].endswith(": /tmp/raw (CAP_NET_RAW).")


def difference(found: Report, subject: str) -> tuple[str, str]:
    (one,) = [one for one in found["differences"] if one["subject"] == subject]
    return one["config"], one["kernel"]


def test_what_has_changed_since_create_is_a_difference(box: Box) -> None:
    container = box.running(hardened(box))
    box.runtime.call("update", "--pids-limit", "20", container.id).ok()
    with socket.socket(socket.AF_UNIX) as engine:
        path = box.folder / "docker.sock"
        engine.bind(str(path))
        added = box.folder / "mounts.json"
        added.write_text(
            json.dumps(
                [{"destination": "/tmp", "type": "bind", "source": str(box.folder),
                  "options": ["rbind"]}]
            )
        )  # fmt: skip
        box.runtime.call("mounts", "add", container.id, added).ok()
        found = audit(box, container.id)
    assert difference(found, "mount on /tmp") == ("none", str(box.folder))
    # `update` changes the kept config.json as well.
    assert [one["subject"] for one in found["differences"]] == ["mount on /tmp"]
    assert grades(found)["host-path"] == "low"


def test_the_filters_that_count_are_those_in_the_kernel(box: Box) -> None:
    """A container that was started with another filter than its config.json has by now."""
    bundle = hardened(box)
    container = box.running(bundle)
    kept = box.runtime.root / container.id / "config.json"
    config = json.loads(kept.read_text())
    config["linux"]["seccomp"]["syscalls"][0]["names"].append("keyctl")
    kept.write_text(json.dumps(config))
    found = audit(box, container.id)
    assert "seccomp-keyrings" not in grades(found)
    assert difference(found, "seccomp filter") == ("that of linux.seccomp", "another, or several")


def test_a_paused_container_is_audited_by_the_filter_of_its_config(box: Box) -> None:
    container = box.running(hardened(box))
    box.runtime.call("pause", container.id).ok()
    found = audit(box, container.id)
    box.runtime.call("resume", container.id).ok()
    assert ["paused" in reason for reason in found["unknown"]] == [True]
    assert found["grade"] == "note"


def test_a_created_container_is_audited(box: Box) -> None:
    container = box.created(hardened(box))
    assert audit(box, container.id)["grade"] == "note"
    container.start().ok()
    container.wait_output("ready")


@needs("userns")
def test_a_limit_above_the_container_counts(box: Box) -> None:
    bundle = hardened(box)
    del bundle.linux["resources"]["memory"]
    assert of_bundle(box, bundle)["memory-unlimited"] == "medium"
    found = audit(box, box.running(bundle).id)
    assert ("memory-unlimited" in grades(found)) or difference(found, "memory limit")[0] == "none"


NULL_ONLY = [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}]


@on_v2_tree
def test_a_device_program_of_somebody_else_counts(box: Box) -> None:
    """As of a manager on v2, in the form that these have; it can only forbid."""
    bundle = box.bundle("/probe", "wait")
    bundle.linux["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    container = box.running(bundle)
    opened = ("/probe", "try", "open:/dev/null", "open:/dev/zero")

    def answers() -> list[int]:
        return [one["errno"] for one in container.exec(*opened).ok().json()]

    assert grades(audit(box, container.id))["device-rules"] == "high"
    assert answers() == [0, 0]
    kept = json.loads((box.runtime.root / container.id / "state.json").read_text())
    cgroup = kept["cgroup_paths"][""]
    with attached(cgroup, chain(NULL_ONLY)):
        assert answers() == [0, errno.EPERM]
        found = audit(box, container.id)
        assert found["unknown"] == []
        assert "device-rules" not in grades(found)
        assert difference(found, "device rules") == (
            "b *:* rw, c *:* rw", "b *:* none, c *:* none"
        )  # fmt: skip
        with attached(cgroup, [(CALL, 0, 0, 0, 5), *ALLOW], "asks") as prog_id:
            assert audit(box, container.id)["unknown"] == [
                f"device rules: the eBPF program asks (id {prog_id}): it calls a function"
            ]


@on_v2_tree
@needs("tool runc")
def test_the_program_of_runc_is_read_as_its_rules(box: Box) -> None:
    """Made by runc in a mount namespace that has the tree of v2 alone."""
    assert V2_MOUNT is not None
    bundle = box.bundle("/bin/true")
    bundle.linux["cgroupsPath"] = f"/{MARK}-runc"
    disks = {"allow": True, "type": "b", "major": 7, "access": "r"}
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}, disks, fuse]}
    bundle.save()
    runc = f"{shutil.which('runc')} --root {box.folder}/runc"
    alone = "umount -l -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"

    def call(words: str) -> None:
        command = ["unshare", "--mount", "sh", "-ec", f"{alone}; exec {runc} {words}"]
        null = subprocess.DEVNULL
        subprocess.run(command, check=True, stdin=null, stdout=null, stderr=null)

    call(f"create --bundle {bundle.path} {MARK}-runc")
    try:
        tables, unknown = tables_of_cgroup(f"{V2_MOUNT.point}/{MARK}-runc")
    finally:
        call(f"delete --force {MARK}-runc")
    assert unknown == []
    world = World()
    world.rules = tables
    opened = {
        ("b", 7, 3): READ, ("b", 8, 0): 0, ("c", 1, 3): READ | WRITE, ("c", 10, 229): READ | WRITE,
        ("c", 10, 237): 0, ("c", 136, 5): READ | WRITE, ("c", 1, 11): 0,
    }  # fmt: skip
    assert {device: access(world, *device) & OPENING for device in opened} == opened


@contextmanager
def stopped(box: Box) -> Generator[Container]:
    container = box.running()
    container.stop()
    yield container


def test_what_is_not_there_is_said_in_one_sentence(box: Box) -> None:
    box.runtime.call("audit", "nothing-here").failed("container does not exist")
    box.runtime.call("audit", "./nothing-here").failed("nothing-here not found")
    box.runtime.call("audit", "nothing-here/").failed("file nothing-here not found")
    with stopped(box) as container:
        box.runtime.call("audit", container.id).failed("cannot audit a container that is stopped")
    box.runtime.call("audit", "--fail-on", "awful", ".").failed("invalid value for --fail-on")
    box.runtime.call("audit", "--format", "yaml", ".").failed("invalid format option")


def test_fail_on_is_an_exit_status_of_its_own(box: Box) -> None:
    bundle = hardened(box)
    bundle.save()
    audit(box, f"{bundle.path}/", "--fail-on", "low")
    audit(box, f"{bundle.path}/", "--fail-on", "note", status=2)
    bundle.linux["resources"].pop("pids")
    bundle.save()
    audit(box, f"{bundle.path}/config.json", "--fail-on", "high")
    audit(box, f"{bundle.path}/config.json", "--fail-on", "medium", status=2)


def test_people_read_a_line_for_each_finding(box: Box) -> None:
    bundle = hardened(box)
    bundle.linux["resources"].pop("pids")
    bundle.save()
    text = box.runtime.call("audit", f"{bundle.path}/").ok().stdout
    first, second, third, *_, last = text.splitlines()
    assert first.startswith("medium    pids-unlimited: ")
    assert second.strip().startswith("/linux/resources/pids/limit: ")
    assert third.strip().startswith("This breaks: ")
    assert last.endswith("config.json: 1 medium, 2 note")
