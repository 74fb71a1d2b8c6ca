"""Capabilities, no_new_privs and what the process may not do.

Source: runtime-spec config.md#linux-process; docs/runc-compat/init.md#capabilities.
"""

from __future__ import annotations

import errno
import json
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


def warnings(box: Box, user: int = 0, **names: list[str]) -> list[str]:
    """Run a container with these sets to its end; returns the warnings in the log."""
    bundle = box.bundle("true", capabilities=sets(**names), user={"uid": user, "gid": user})
    call = box.container(bundle).run().ok()
    assert call.stderr == ""
    return [line["msg"] for line in call.log_lines if line["level"] == "warning"]


@needs("ours")
class TestWarnings:
    """Spec: what cannot be granted MUST be logged as a warning, and SHOULD NOT be an error."""

    def test_a_plain_configuration_has_none(self, box: Box) -> None:
        assert warnings(box, bounding=["CHOWN"], effective=["CHOWN"], permitted=["CHOWN"]) == []

    def test_an_unknown_name(self, box: Box) -> None:
        assert warnings(box, bounding=["NO_SUCH"]) == [
            "capability CAP_NO_SUCH is unknown to this kernel"
        ]

    def test_effective_without_permitted(self, box: Box) -> None:
        assert warnings(box, bounding=["KILL"], effective=["KILL"]) == [
            "capability CAP_KILL cannot be effective: it is not permitted"
        ]

    def test_ambient_without_inheritable(self, box: Box) -> None:
        assert warnings(box, user=1000, permitted=["KILL"], ambient=["KILL"]) == [
            "capability CAP_KILL cannot be ambient: it is not permitted and inheritable"
        ]

    def test_a_process_of_exec(self, box: Box) -> None:
        container = box.running()
        process = {"args": ["/bin/true"], "cwd": "/", "capabilities": sets(bounding=["NO_SUCH"])}
        call = container.exec_process(process).ok()
        assert [line["msg"] for line in call.log_lines] == [
            "capability CAP_NO_SUCH is unknown to this kernel"
        ]


@needs("tool setpriv")
@peer_deviates("runc", "1.1.5 fails: operation not permitted")
@peer_deviates("crun", "1.8.1 fails", sometimes=True)
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_capability_that_the_runtime_lacks_is_left_out(box: Box, verb: str) -> None:
    """As in docker-in-docker, where the runtime itself is confined."""
    both = ["KILL", "SYS_TIME"]
    capabilities = sets(bounding=both, effective=both, permitted=both)
    bundle = box.bundle("/probe", capabilities=capabilities)
    container = box.container(bundle)
    words = ["run", "-b", str(bundle.path), container.id]
    if verb == "exec":
        bundle.process.update(args=["/probe", "wait"], capabilities={})
        box.running(bundle)
        (bundle.path / "process.json").write_text(
            json.dumps({"args": ["/probe"], "cwd": "/", "capabilities": capabilities})
        )
        words = ["exec", "-p", str(bundle.path / "process.json"), box.containers[-1].id]
    bundle.save()
    call = box.runtime.prepare(*words)
    call.argv[:0] = ["setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-all"]
    done = subprocess.run(call.argv, capture_output=True, timeout=20, check=True)
    found = json.loads(done.stdout)["capabilities"]
    assert found["effective"] == found["permitted"] == found["bounding"] == mask(CAP_KILL)
    if box.runtime.name == "ours":
        assert [line["msg"] for line in call.log_lines] == [
            "capability CAP_SYS_TIME cannot be granted: the runtime does not have it"
        ]


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
