"""Device rules of a container on cgroup v1, without a kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ocirun.cgroups import cgroup as cgroup_module
from ocirun.errors import SetupError

if TYPE_CHECKING:
    from unit.cgroups.conftest import FakeKernel

NOTHING = [{"allow": False, "access": "rwm"}]


def test_no_limits_write_nothing_but_device_rules(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    cgroup.apply({"memory": {}, "blockIO": {"weight": 0}, "cpu": {"shares": 0}, "pids": {}})
    assert {path.rpartition("/")[2] for path, _ in kernel.writes} == {
        "devices.deny",
        "devices.allow",
    }


def test_device_rules_end_with_the_implied_ones(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    cgroup.apply({"devices": [*NOTHING, {"allow": True, "type": "b", "major": 8, "access": "r"}]})
    assert [(path.rpartition(".")[2], text) for path, text in kernel.writes] == [
        ("deny", "a"), ("allow", "b 8:* r"), ("allow", "c *:* m"), ("allow", "c 1:3 rwm"),
    ]  # fmt: skip


def test_only_what_differs_from_the_kernels_rules_is_written(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    directory = os.path.relpath(cgroup.paths["devices"], kernel.root)
    kernel.put(f"{directory}/devices.list", "c 8:* r\nc *:* m\n")
    cgroup.apply({"devices": NOTHING})
    assert kernel.writes == [
        (f"{directory}/devices.deny", "c 8:* r"),
        (f"{directory}/devices.allow", "c 1:3 rwm"),
    ]


def test_a_refused_device_rule_is_named(kernel: FakeKernel) -> None:
    kernel.refusals["devices.allow", "c 1:3 rwm"] = [1, 1]
    with pytest.raises(SetupError, match=r"devices.allow to 'c 1:3 rwm': operation not permitted"):
        kernel.made().apply({"devices": NOTHING})


def test_rules_that_did_not_take_are_told(kernel: FakeKernel) -> None:
    kernel.kept_rules = ["b 7:* rwm"]
    with pytest.raises(SetupError, match="the kernel kept other ones"):
        kernel.made().apply({"devices": NOTHING})


def test_an_update_leaves_the_devices_alone(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    cgroup.update({"pids": {"limit": 5}, "devices": NOTHING})
    assert [path.rpartition("/")[2] for path, _ in kernel.writes] == ["pids.max"]


def test_the_implied_rules_can_be_fewer(kernel: FakeKernel) -> None:
    kernel.made().apply({"devices": NOTHING}, implied=[])
    assert (kernel.texts("devices.deny"), kernel.texts("devices.allow")) == (["a"], [])


def test_all_devices_allowed_forgets_what_was_denied(kernel: FakeKernel) -> None:
    cgroup = kernel.made()
    cgroup.apply({"devices": [{"allow": True, "access": "rwm"}]})
    assert kernel.texts("devices.allow") == ["a"]
    assert kernel.texts("devices.deny") == []


@pytest.mark.parametrize("inside", [True, False])
def test_only_inside_a_user_namespace_refused_device_rules_are_forgiven(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(cgroup_module, "is_in_user_namespace", lambda: inside)
    kernel.refusals["devices.deny", "a"] = [1]
    cgroup = kernel.made()
    if inside:
        cgroup.apply({"pids": {"limit": 5}})
        assert kernel.texts("pids.max") == ["5"]
    else:
        with pytest.raises(SetupError, match="operation not permitted"):
            cgroup.apply({"pids": {"limit": 5}})


def test_device_rules_hold_for_a_container_with_a_user_namespace(kernel: FakeKernel) -> None:
    kernel.made().apply({"devices": NOTHING}, userns=True)
    assert kernel.texts("devices.deny") == ["a"]
