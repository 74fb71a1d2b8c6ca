"""Documents that runc's reader takes although they do not have the shape of the schema."""
# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ocirun.errors import SpecError
from ocirun.spec.load import check_resources, load_config
from ocirun.spec.validate import validate_bundle

ALLOW, ERRNO, EQUAL = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_CMP_EQ"


def loaded(folder: Path, **linux: Any) -> Any:
    document = {
        "ociVersion": "1.0.2",
        "root": {"path": "."},
        "linux": {"namespaces": [{"type": "mount"}], **linux},
    }
    (folder / "config.json").write_text(json.dumps(document))
    return load_config(str(folder), need_process=False)["linux"]


def test_pids_without_a_limit_limit_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, resources={"pids": {}})["resources"] == {}
    assert check_resources({"pids": {}}) == {}


@pytest.mark.parametrize(
    "seccomp", [{}, {"architectures": ["SCMP_ARCH_X86_64"]}, {"defaultAction": "", "syscalls": []}]
)
def test_a_filter_without_default_and_rules_is_none(tmp_path: Path, seccomp: Any) -> None:
    assert "seccomp" not in loaded(tmp_path, seccomp=seccomp)


def test_a_filter_with_rules_needs_a_default(tmp_path: Path) -> None:
    seccomp = {"syscalls": [{"names": ["mkdir"], "action": ERRNO}]}
    with pytest.raises(SpecError, match="/linux/seccomp/defaultAction: is missing"):
        loaded(tmp_path, seccomp=seccomp)


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        ({"name": "mkdir"}, ["mkdir"]),  # before runtime-spec 1.0
        ({"name": "mkdir", "names": []}, ["mkdir"]),
        ({"name": "mkdir", "names": ["rmdir"]}, ["rmdir"]),
        ({}, None),
        ({"names": []}, None),
        ({"names": None}, None),
    ],
)
def test_a_rule_has_the_names_it_can_have(
    tmp_path: Path, rule: Any, read: list[str] | None
) -> None:
    seccomp = {"defaultAction": ALLOW, "syscalls": [{**rule, "action": ERRNO}]}
    rules = loaded(tmp_path, seccomp=seccomp)["seccomp"]["syscalls"]
    assert [one["names"] for one in rules] == ([read] if read else [])


def test_an_argument_without_index_or_value_has_zeros(tmp_path: Path) -> None:
    rule = {"names": ["mkdir"], "action": ERRNO, "args": [{"op": EQUAL}]}
    seccomp = loaded(tmp_path, seccomp={"defaultAction": ALLOW, "syscalls": [rule]})["seccomp"]
    assert seccomp["syscalls"][0]["args"] == [{"op": EQUAL, "index": 0, "value": 0}]


@pytest.mark.parametrize(
    "seccomp", [7, [], {"syscalls": 7}, {"syscalls": [7]}, {"defaultAction": 7}]
)
def test_what_runc_refuses_too_is_refused(tmp_path: Path, seccomp: Any) -> None:
    with pytest.raises(SpecError):
        loaded(tmp_path, seccomp=seccomp)


def test_validate_keeps_to_the_schema(tmp_path: Path) -> None:
    loaded(tmp_path, resources={"pids": {}})
    [problem] = validate_bundle(str(tmp_path))
    assert problem.pointer == "/linux/resources/pids/limit"


@pytest.mark.parametrize("devices", [[{"allow": True, "access": "rwa"}], [7], "x"])
def test_an_update_leaves_devices_alone_whatever_it_says_of_them(devices: Any) -> None:
    assert check_resources({"devices": devices, "pids": {"limit": 5}}) == {"pids": {"limit": 5}}


@pytest.mark.parametrize("access", [{}, {"access": ""}])
def test_a_device_rule_about_no_access_is_refused(tmp_path: Path, access: Any) -> None:
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", **access}]
    with pytest.raises(SpecError, match="device access at 1 field cannot be empty"):
        loaded(tmp_path, resources={"devices": rules})


@pytest.mark.parametrize(
    ("device", "pointer"),
    [
        ({"major": 4096, "minor": 0}, "/linux/devices/0/major"),
        ({"major": -1, "minor": 0}, "/linux/devices/0/major"),
        ({"major": 1, "minor": 1 << 20}, "/linux/devices/0/minor"),
    ],
)
def test_a_device_number_that_no_device_has_is_refused(
    tmp_path: Path, device: Any, pointer: str
) -> None:
    with pytest.raises(SpecError, match="is not the number of a device") as caught:
        loaded(tmp_path, devices=[{"path": "/dev/x", "type": "c", **device}])
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_the_largest_device_number_is_one(tmp_path: Path) -> None:
    device = {"path": "/dev/x", "type": "c", "major": 4095, "minor": (1 << 20) - 1}
    assert loaded(tmp_path, devices=[device])["devices"] == [device]


@pytest.mark.parametrize("number", [-2, 1 << 32])
def test_a_rule_for_a_number_that_no_device_has_is_refused(tmp_path: Path, number: int) -> None:
    rule = {"allow": True, "type": "c", "major": number, "access": "r"}
    with pytest.raises(SpecError, match="is not a device number"):
        loaded(tmp_path, resources={"devices": [rule]})


def test_broken_rules_are_an_invalid_configuration(tmp_path: Path) -> None:
    """runc's words, which tools look for."""
    with pytest.raises(SpecError, match=r"^invalid configuration: config\.json: /linux/"):
        loaded(tmp_path, namespaces=[{"type": "mount"}, {"type": "mount"}])
