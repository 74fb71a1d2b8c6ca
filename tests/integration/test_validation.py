"""What the validation programs of runtime-tools ask of a runtime, asked anew.

Those programs have to be built from a checkout (tests/conformance); here are their questions that
no other chapter asks, with the configuration their generator makes.

Source: runtime-spec runtime.md#operations, config.md, config-linux.md.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from harness.box import Box
from harness.bundle import Bundle
from harness.mountinfo import mount_at
from harness.peers import peer_deviates

NODES = {"block": stat.S_IFBLK, "character": stat.S_IFCHR, "fifo": stat.S_IFIFO}
FOR_A_TMPFS = ("nosuid", "strictatime", "mode=755", "size=1k")


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete"])
def test_a_verb_without_an_id_is_an_error(box: Box, verb: str) -> None:
    assert box.runtime.call(verb).status != 0


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_a_container_that_is_not_there_is_an_error(box: Box, verb: str) -> None:
    box.runtime.call(verb, "conformance-nobody").failed("does not exist")


@peer_deviates("runc", "1.1 reads no version")
def test_a_version_that_is_none(box: Box) -> None:
    bundle = box.bundle("true")
    bundle.config["ociVersion"] = "invalid"
    box.container(bundle).create().failed("version")


def test_unknown_members_and_annotations_are_ignored(box: Box) -> None:
    bundle = box.bundle("echo", "alive")
    bundle.config["unknown"] = "unknown"
    bundle.config["annotations"] = {"org.nobody.knows": ""}
    assert box.output(bundle) == "alive\n"


@peer_deviates("runc", "1.1 calls getcwd once the filter is loaded")
def test_a_filter_may_forbid_getcwd(box: Box) -> None:
    """linux_seccomp: nothing of ours may need what the profile forbids."""
    bundle = box.bundle("sh", "-c", "busybox pwd 2>&1 || grep Seccomp: /proc/self/status")
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}],
    }
    output = box.output(bundle)
    assert "Operation not permitted" in output
    assert output.split()[-1] == "2"


def test_devices_of_each_kind_with_mode_and_owner(box: Box) -> None:
    """linux_devices: the pipe too has exactly the mode that is asked for."""
    bundle = box.bundle()
    kinds = {"c": (10, 666), "b": (8, 666), "p": (8, 666)}
    bundle.linux["devices"] = [
        {"path": f"/dev/test-{kind}", "type": kind, "major": major, "minor": minor,
         "fileMode": 0o660, "uid": 0, "gid": 0}
        for kind, (major, minor) in kinds.items()
    ]  # fmt: skip
    found = box.report(bundle)["dev"]
    for kind in kinds:
        node = found[f"/dev/test-{kind}"]
        assert (node["type"], node["mode"]) == (kind, 0o660)


@pytest.mark.parametrize("word", ["shared", "slave", "private", "unbindable"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind", "rbind"])
def test_each_propagation_of_each_kind_of_mount(box: Box, kind: str, word: str) -> None:
    """mounts: with options for a tmpfs on bind mounts as well, which there do nothing."""
    bundle = box.bundle()
    source = "tmpfs" if kind == "tmpfs" else "/etc"
    words = (word,) if kind == "tmpfs" else (kind, word if kind == "bind" else f"r{word}")
    bundle.add_mount("/mnt/it", "tmpfs" if kind == "tmpfs" else "", source, *FOR_A_TMPFS, *words)
    found = mount_at(box.report(bundle), "/mnt/it")
    assert "nosuid" in found.options
    assert any(tag.startswith("shared:") for tag in found.tags) is (word == "shared")
    assert ("unbindable" in found.tags) is (word == "unbindable")


def with_node(box: Box, kind: str, *args: str) -> Bundle:
    bundle = box.bundle(*args)
    os.mknod(bundle.rootfs / "node", NODES[kind] | 0o666, 0)
    return bundle


@pytest.mark.parametrize("kind", NODES)
def test_a_masked_node_reads_as_empty(box: Box, kind: str) -> None:
    """linux_masked_paths: a pipe that nobody writes to does not hold us up."""
    bundle = with_node(box, kind, "cat", "/node")
    bundle.linux["maskedPaths"] = ["/node"]
    assert box.output(bundle) == ""


@pytest.mark.parametrize("kind", NODES)
def test_a_readonly_node(box: Box, kind: str) -> None:
    bundle = with_node(box, kind)
    bundle.linux["readonlyPaths"] = ["/node"]
    assert "ro" in mount_at(box.report(bundle), "/node").options


@peer_deviates("runc", "1.1 takes it for an absolute one")
@pytest.mark.parametrize("member", ["maskedPaths", "readonlyPaths"])
def test_a_relative_path_to_hide_is_refused(box: Box, member: str) -> None:
    bundle = box.bundle("true")
    (bundle.rootfs / "hidden").write_text("secret")
    bundle.linux[member] = ["hidden"]
    box.container(bundle).create().failed("absolute")


def test_an_empty_configuration_after_create_is_no_hindrance(box: Box) -> None:
    """config_updates_without_affect."""
    bundle = box.bundle("sh", "-c", "echo called > /output")
    container = box.created(bundle)
    (Path(bundle.path) / "config.json").write_text('{"ociVersion": "1.0.0"}')
    container.start().ok()
    container.wait_status("stopped")
    assert (bundle.rootfs / "output").read_text() == "called\n"
    container.delete().ok()


def test_a_signal_to_a_stopped_container_changes_nothing(box: Box) -> None:
    """kill, kill_no_effect, start."""
    container = box.created(None, "true")
    container.start().ok()
    container.wait_status("stopped")
    before = container.state()
    container.kill("KILL").failed()
    container.start().failed()
    assert container.state() == before
    container.delete().ok()
