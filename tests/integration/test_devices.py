"""Device nodes and links of /dev.

Source: runtime-spec config-linux.md#devices, #default-devices, runtime-linux.md#dev-symbolic-links;
docs/runc-compat/mounts.md#devices, docs/runc-compat/cgroups.md#device-rules.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

DEFAULTS = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
    "/dev/ptmx": "pts/ptmx",
}
FUSE = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}


def test_the_six_default_devices_are_there(box: Box) -> None:
    found = box.report(box.bundle())["dev"]
    for path, numbers in DEFAULTS.items():
        entry = found[path]
        assert (entry["type"], entry["major"], entry["minor"]) == ("c", *numbers)
        assert (entry["mode"], entry["uid"], entry["gid"]) == (0o666, 0, 0)


def test_the_links_are_there(box: Box) -> None:
    found = box.report(box.bundle())["dev"]
    assert {path: found[path]["target"] for path in LINKS} == LINKS


def test_core_leads_to_kcore_when_there_is_one(box: Box) -> None:
    found = box.report(box.bundle())["dev"]
    if os.path.exists("/proc/kcore"):
        assert found["/dev/core"]["target"] == "/proc/kcore"
    else:
        assert "/dev/core" not in found


def test_there_is_nothing_else(box: Box) -> None:
    found = set(box.report(box.bundle())["dev"])
    assert found - {*DEFAULTS, *LINKS, "/dev/core", "/dev/pts", "/dev/pts/ptmx"} == set()


def test_the_default_devices_work(box: Box) -> None:
    bundle = box.bundle(
        "sh", "-c", "echo x > /dev/null; head -c 3 /dev/zero | wc -c; echo $(:</dev/fd/0)ok"
    )
    assert box.output(bundle) == "3\nok\n"


def test_a_full_device_says_no_space(box: Box) -> None:
    bundle = box.bundle("sh", "-c", "echo x > /dev/full")
    run = box.container(bundle).run()
    assert "No space left on device" in run.stderr


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_device_with_mode_and_owner(box: Box, umask: int) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [FUSE | {"fileMode": 0o640, "uid": 7, "gid": 8}]
    run = box.container(bundle).run(umask=umask).ok()
    entry = run.json()["dev"]["/dev/fuse"]
    assert entry == {"type": "c", "mode": 0o640, "uid": 7, "gid": 8, "major": 10, "minor": 229}


def test_a_devices_mode_is_666_by_default(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [FUSE]
    if box.runtime.name == "runc":
        pytest.xfail("1.1 makes it with mode 0")
    assert box.report(bundle)["dev"]["/dev/fuse"]["mode"] == 0o666


@pytest.mark.parametrize(("kind", "reported"), [("c", "c"), ("u", "c"), ("b", "b")])
def test_every_device_type_is_made(box: Box, kind: str, reported: str) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [
        {"path": "/dev/x", "type": kind, "major": 7, "minor": 100, "fileMode": 0o600}
    ]
    entry = box.report(bundle)["dev"]["/dev/x"]
    assert (entry["type"], entry["major"], entry["minor"]) == (reported, 7, 100)


def test_a_fifo_is_made(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    assert box.report(bundle)["dev"]["/dev/pipe"]["type"] == "p"


def test_an_unknown_type_is_refused(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]
    box.container(bundle).create().failed()


def test_a_device_in_a_folder_of_its_own(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [FUSE | {"path": "/dev/deep/er/fuse", "fileMode": 0o666}]
    found = box.report(bundle)["dev"]
    assert found["/dev/deep/er/fuse"]["minor"] == 229
    assert found["/dev/deep/er"]["mode"] == 0o755


def test_a_device_outside_of_dev(box: Box) -> None:
    bundle = box.bundle("stat", "-c", "%t %T", "/opt/null")
    bundle.linux["devices"] = [{"path": "/opt/null", "type": "c", "major": 1, "minor": 3}]
    assert box.output(bundle) == "1 3\n"


def test_an_entry_replaces_the_default_of_the_same_path(box: Box) -> None:
    bundle = box.bundle()
    bundle.linux["devices"] = [
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 3}
    ]
    entry = box.report(bundle)["dev"]["/dev/zero"]
    assert (entry["mode"], entry["uid"]) == (0o600, 3)


def test_a_dev_bound_from_the_host_is_left_alone(box: Box) -> None:
    """Source.

    Source: docs/runc-compat/mounts.md#devices.
    """
    dev = box.folder / "dev"
    dev.mkdir()
    os.mknod(dev / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    bundle = box.bundle()
    bundle.config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "bind", "source": str(dev), "options": ["bind"]},
    ]
    box.container(bundle).run().ok()
    assert sorted(os.listdir(dev)) == ["null"]


@peer_deviates("runc", "1.1 makes the links where the link leads")
def test_a_link_in_dev_does_not_lead_out(box: Box) -> None:
    """CVE-2026-41579 and kin: nodes are made relative to the root's descriptor."""
    bundle = box.bundle("true")
    outside = box.folder / "outside"
    outside.mkdir()
    bundle.config["mounts"] = [bundle.mounts[0]]
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(outside)
    box.container(bundle).run()
    assert list(outside.iterdir()) == []


class TestRules:
    """linux.resources.devices on cgroup v1: what may be opened and made."""

    def rules(self, box: Box, rules: list[dict[str, Any]], *calls: str) -> list[int]:
        bundle = box.bundle()
        bundle.linux["resources"] = {"devices": rules}
        bundle.process["capabilities"] = {
            name: ["CAP_MKNOD", "CAP_DAC_OVERRIDE"]
            for name in ("bounding", "effective", "permitted")
        }
        bundle.linux["devices"] = [FUSE | {"fileMode": 0o666}]
        return box.attempts(bundle, *calls)

    @needs("cgroup devices")
    def test_the_default_devices_work_when_all_is_denied(self, box: Box) -> None:
        calls = [f"open:{path}" for path in DEFAULTS if path != "/dev/tty"] + ["write:/dev/null"]
        assert self.rules(box, [{"allow": False, "access": "rwm"}], *calls) == [0] * len(calls)

    @peer_deviates("crun", "writes it to the kernel")
    def test_one_about_no_access_is_refused(self, box: Box) -> None:
        deny = {"allow": False, "access": "rwm"}
        for rule in ({"allow": True, "type": "c"}, {"allow": True, "type": "c", "access": ""}):
            bundle = box.bundle()
            bundle.linux["resources"] = {"devices": [deny, rule]}
            refused = box.container(bundle).create()
            refused.failed("device access at 1 field cannot be empty")

    @needs("cgroup devices")
    def test_others_do_not(self, box: Box) -> None:
        deny = [{"allow": False, "access": "rwm"}]
        assert self.rules(box, deny, "open:/dev/fuse") == [errno.EPERM]

    @needs("cgroup devices")
    def test_an_allowed_one_does(self, box: Box) -> None:
        if not os.path.exists("/dev/fuse"):
            pytest.skip("no /dev/fuse on this machine")
        rules = [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "r"},
        ]
        assert self.rules(box, rules, "open:/dev/fuse", "write:/dev/fuse") == [0, errno.EPERM]

    @needs("cgroup devices")
    def test_making_nodes_is_allowed_and_opening_them_is_not(self, box: Box) -> None:
        deny = [{"allow": False, "access": "rwm"}]
        assert self.rules(box, deny, "mknodb:/tmp/loop", "open:/tmp/loop") == [0, errno.EPERM]

    @needs("cgroup devices")
    @peer_deviates("crun", "on v1 it writes only the listed rules")
    def test_an_empty_list_denies(self, box: Box) -> None:
        assert self.rules(box, [], "open:/dev/fuse", "open:/dev/null") == [errno.EPERM, 0]

    @needs("cgroup devices")
    def test_the_last_match_wins(self, box: Box) -> None:
        rules = [
            {"allow": True, "access": "rwm"},
            {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
        ]
        assert self.rules(box, rules, "open:/dev/fuse") == [errno.EPERM]


NOWHERE = {"path": "/dev/nowhere", "type": "c", "major": 1, "minor": 3}
runc_has_only_the_hosts = peer_deviates("runc", "it only mounts the host's node of the same path")


class TestInAUserNamespace:
    """No node can be made in there: one of the host is mounted, or one that is made outside."""

    @runc_has_only_the_hosts
    def test_one_that_the_host_lacks(self, box: Box) -> None:
        bundle = box.bundle(
            "sh", "-c", "stat -c '%n %t %T %a %u %g' /dev/n* && echo x > /dev/nowhere"
        )
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["devices"] = [NOWHERE | {"fileMode": 0o646, "uid": 7, "gid": 8}]
        stdout = box.output(bundle)
        assert "/dev/nowhere 1 3 646 7 8\n" in stdout
        assert "/dev/null 1 3 666 " in stdout

    @runc_has_only_the_hosts
    @peer_deviates("crun", "its own default node covers it")
    def test_one_that_is_something_else_on_the_host(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "stat -c '%t %T' /dev/full; echo x > /dev/full && echo ok")
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["devices"] = [NOWHERE | {"path": "/dev/full"}]
        assert box.output(bundle) == "1 3\nok\n"

    @needs("ours")
    def test_nothing_of_the_making_is_seen(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "cut -d' ' -f4-6 /proc/self/mountinfo; ls -ld /dev/nowhere")
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["devices"] = [NOWHERE]
        rows = [line.split() for line in box.output(bundle).splitlines()]
        (row,) = [row for row in rows if row[1] == "/dev/nowhere"]
        assert {"nosuid", "noexec"} <= set(row[2].split(","))
        assert [row[1] for row in rows].count("/") == 1

    @needs("ours")
    def test_the_devices_rules_hold_for_it(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", ": < /dev/nowhere")
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["devices"] = [NOWHERE | {"major": 10, "minor": 229}]
        run = box.container(bundle).run()
        assert "Operation not permitted" in run.stderr

    @needs("ours")
    def test_an_owner_without_an_id_inside(self, box: Box) -> None:
        bundle = box.bundle()
        bundle.use_userns((0, 100000, 65536))
        bundle.linux["devices"] = [NOWHERE | {"gid": 70000}]
        call = box.container(bundle).create()
        call.failed(
            'creating device "/dev/nowhere": gid 70000 has no mapping in the user namespace'
        )

    @runc_has_only_the_hosts
    @peer_deviates("crun", "its owner is not mapped then")
    def test_in_a_user_namespace_that_is_joined(self, box: Box) -> None:
        first = box.bundle("sleep", "100")
        first.use_userns((0, 100000, 65536))
        owner = box.running(first)
        bundle = box.bundle("stat", "-c", "%t %T %u %g", "/dev/nowhere")
        bundle.use_userns((0, 100000, 65536))
        bundle.set_namespace("user", f"/proc/{owner.pid}/ns/user")
        del bundle.linux["uidMappings"], bundle.linux["gidMappings"]
        bundle.linux["devices"] = [NOWHERE | {"uid": 7, "gid": 8}]
        assert box.output(bundle) == "1 3 7 8\n"
