"""Capabilities, no_new_privs and what the process may not do.

Source: runtime-spec config.md#linux-process; docs/runc-compat/init.md#capabilities.
"""

from __future__ import annotations

import errno
import subprocess
from typing import Any

import pytest
from harness.box import Box
from harness.needs import needs
from harness.peers import peer_deviates

CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE, CAP_SYS_ADMIN = 0, 5, 10, 21
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def mask(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


def sets(**names: list[str]) -> dict[str, Any]:
    return {name: [f"CAP_{cap}" for cap in caps] for name, caps in names.items()}


def test_each_set_is_what_was_asked_for(box: Box) -> None:
    capabilities = sets(
        bounding=["CHOWN", "KILL", "NET_BIND_SERVICE"],
        permitted=["CHOWN", "KILL"],
        inheritable=["CHOWN", "KILL"],
        effective=["CHOWN"],
        ambient=["KILL"],
    )
    user = {"uid": 1000, "gid": 1000}
    found = box.report(box.bundle(user=user, capabilities=capabilities))["capabilities"]
    assert found["bounding"] == mask(CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE)
    assert found["inheritable"] == mask(CAP_CHOWN, CAP_KILL)
    assert found["ambient"] == mask(CAP_KILL)
    # execve of a plain program by a plain user keeps the ambient ones.
    assert found["permitted"] == found["effective"] == mask(CAP_KILL)


def test_root_gets_its_bounding_set_at_execve(box: Box) -> None:
    capabilities = sets(bounding=["CHOWN", "KILL"], effective=["CHOWN"], permitted=["CHOWN"])
    found = box.report(box.bundle(capabilities=capabilities))["capabilities"]
    assert found["effective"] == found["permitted"] == mask(CAP_CHOWN, CAP_KILL)
    assert found["inheritable"] == found["ambient"] == 0


def test_empty_sets_leave_nothing(box: Box) -> None:
    capabilities = {name: [] for name in SETS}
    found = box.report(box.bundle(capabilities=capabilities))["capabilities"]
    assert found == dict.fromkeys(SETS, 0)


def test_an_empty_object_leaves_nothing(box: Box) -> None:
    found = box.report(box.bundle(capabilities={}))["capabilities"]
    assert found == dict.fromkeys(SETS, 0)


def test_without_the_property_there_are_none(box: Box) -> None:
    assert box.report(box.bundle())["capabilities"] == dict.fromkeys(SETS, 0)


def test_an_unprivileged_user_without_ambient_has_none(box: Box) -> None:
    capabilities = sets(bounding=["CHOWN"], effective=["CHOWN"], permitted=["CHOWN"])
    user = {"uid": 1000, "gid": 1000}
    found = box.report(box.bundle(user=user, capabilities=capabilities))["capabilities"]
    assert found["effective"] == found["permitted"] == 0
    assert found["bounding"] == mask(CAP_CHOWN)


@peer_deviates("crun", "refuses the name")
def test_an_unknown_name_is_skipped(box: Box) -> None:
    capabilities = sets(bounding=["CHOWN", "NO_SUCH"], effective=["CHOWN"], permitted=["CHOWN"])
    found = box.report(box.bundle(capabilities=capabilities))["capabilities"]
    assert found["bounding"] == mask(CAP_CHOWN)


@needs("ours")
def test_an_unknown_name_is_told_with_debug_only(box: Box) -> None:
    capabilities = sets(bounding=["CHOWN", "NO_SUCH"], effective=["CHOWN"], permitted=["CHOWN"])
    container = box.container(None, "true", capabilities=capabilities)
    call = container.run().ok()
    assert (call.stderr, call.log) == ("", "")
    call = box.runtime.prepare("run", "-b", container.bundle.path, f"{container.id}-debug")
    call.argv.insert(1, "--debug")
    subprocess.run(call.argv, check=True, timeout=20)
    told = [line["msg"] for line in call.log_lines]
    assert "ignoring capability CAP_NO_SUCH: this kernel does not know it" in told


def test_a_capability_the_host_lacks_is_an_error_or_nothing(box: Box) -> None:
    """It must never come from somewhere."""
    from harness.machine import capability_bounding

    if capability_bounding() >> 24 & 1:
        pytest.skip("this host has CAP_SYS_RESOURCE")
    capabilities = sets(bounding=["SYS_RESOURCE"], permitted=["SYS_RESOURCE"])
    run = box.container(None, capabilities=capabilities).run()
    if run.status == 0:
        assert run.json()["capabilities"]["effective"] == 0


def test_keepcaps_and_securebits_are_clean(box: Box) -> None:
    report = box.report(box.bundle(user={"uid": 1000, "gid": 1000}))
    assert report["securebits"] == 0
    assert report["keepcaps"] is False


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privs(box: Box, value: bool) -> None:
    assert box.report(box.bundle(noNewPrivileges=value))["no_new_privs"] is value


def test_no_new_privs_is_off_when_absent(box: Box) -> None:
    assert box.report(box.bundle())["no_new_privs"] is False


def test_without_sys_admin_nothing_can_be_mounted(box: Box) -> None:
    bundle = box.bundle(capabilities=sets(bounding=["CHOWN"]))
    calls = box.attempts(bundle, "mount:/tmp", "umount:/proc", "mknod:/tmp/null", "chroot:/tmp")
    assert calls == [errno.EPERM] * 4
