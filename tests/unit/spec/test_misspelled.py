"""What `validate` takes for a slip of the pen, and what it leaves alone."""

# ruff: noqa: ANN401  # documents are JSON

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness.machine import REPO

from ocirun.kernel.libseccomp import Library
from ocirun.spec.default import default_config
from ocirun.spec.hardened import hardened_config
from ocirun.spec.misspelled import RECENT_CALLS
from ocirun.spec.validate import Verdict, examine_bundle

CONFIGS = REPO / "tests" / "data" / "configs"
SLIP = "process"[:-1]


def examined(folder: Path, document: Any) -> Verdict:
    (folder / "rootfs" / "data").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return examine_bundle(str(folder))


def written(**members: Any) -> dict[str, Any]:
    if "Linux" not in members:
        namespaces = [{"type": "mount"}, {"type": "uts"}]
        members["linux"] = {"namespaces": namespaces} | members.get("linux", {})
    return {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, **members}


def warnings(folder: Path, document: Any) -> dict[str, tuple[str, str]]:
    verdict = examined(folder, document)
    assert verdict.problems == []
    assert all(str(one).isprintable() for one in verdict.warnings)
    return {one.pointer: (one.message, one.remedy) for one in verdict.warnings}


@pytest.mark.parametrize(
    ("members", "pointer", "close"),
    [
        ({SLIP: {}}, f"/{SLIP}", "process"),
        ({"linux": {"seccompp": {}}}, "/linux/seccompp", "seccomp"),
        ({"linux": {"maskedPath": []}}, "/linux/maskedPath", "maskedPaths"),
        ({"linux": {"resources": {"pid": {}}}}, "/linux/resources/pid", "pids"),
        ({"mounts": [{"destination": "/a", "option": []}]}, "/mounts/0/option", "options"),
        ({"linux": {"readonlypath": []}}, "/linux/readonlypath", "readonlyPaths"),
        ({"Linux": {"seccompp": {}}}, "/Linux/seccompp", "seccomp"),
        ({"annotation~": {}}, "/annotation~0", "annotations"),
        ({"seccomp": {}}, "/seccomp", "/linux/seccomp"),
        ({"noNewPrivileges": True}, "/noNewPrivileges", "/process/noNewPrivileges"),
        ({"linux": {"memory": {}}}, "/linux/memory", "/linux/resources/memory"),
    ],
)
def test_a_member_close_to_a_known_one_is_named(
    tmp_path: Path, members: dict[str, Any], pointer: str, close: str
) -> None:
    message, remedy = warnings(tmp_path, written(**members))[pointer]
    assert message == "is not a known member and is ignored"
    assert remedy == f'did you mean "{close}"?'


def test_a_misspelled_member_is_named_beside_the_right_one(tmp_path: Path) -> None:
    process = {"cwd": "/", "args": ["a"], "argz": []}
    found = warnings(tmp_path, written(process=process, **{SLIP: {}}))
    assert found[f"/{SLIP}"][1] == 'did you mean "process"?'
    assert found["/process/argz"][1] == 'did you mean "args"?'


def test_extensions_are_left_alone(tmp_path: Path) -> None:
    members = {"x-vendor": 1, "linux": {"hugo": {}}, "annotations": {SLIP: "", "Linux": ""}}
    members["vm"] = {"hypervisor": {"path": "/x"}}
    assert warnings(tmp_path, written(**members)) == {}


def test_a_member_in_another_case_is_a_warning(tmp_path: Path) -> None:
    found = warnings(tmp_path, written(Hostname="a"))
    assert found["/Hostname"][1] == 'write "hostname"'


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("CAP_SYS_ADMN", "CAP_SYS_ADMIN"),
        ("NET_RAW", "CAP_NET_RAW"),
        ("cap_kill", "CAP_KILL"),
        ("CAP_HUGO_EGON", ""),
    ],
)
def test_an_unknown_capability_is_named(tmp_path: Path, name: str, close: str) -> None:
    process = {"cwd": "/", "args": ["a"], "capabilities": {"bounding": ["CAP_KILL", name]}}
    found = warnings(tmp_path, written(process=process))
    message, remedy = found.pop("/process/capabilities/bounding/1")
    assert message == f'"{name}" is not a known capability and is left out'
    assert remedy == (f'did you mean "{close}"?' if close else "")
    assert not found


def test_a_relative_destination_is_named(tmp_path: Path) -> None:
    mounts = [{"destination": "data", "type": "tmpfs"}, {"destination": "/data", "type": "tmpfs"}]
    found = warnings(tmp_path, written(mounts=mounts))
    assert set(found) == {"/mounts/0/destination"}
    assert found["/mounts/0/destination"][1] == 'did you mean "/data"?'


def seccomp(*names: str) -> dict[str, Any]:
    rule = {"names": list(names), "action": "SCMP_ACT_ERRNO"}
    return written(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}})


def test_an_unknown_system_call_is_named(tmp_path: Path) -> None:
    found = warnings(tmp_path, seccomp("mount", "umuont", "keyctll", "socketcall", "hugo_egon"))
    lead = "/linux/seccomp/syscalls/0/names"
    assert {where: remedy for where, (_, remedy) in found.items()} == {
        f"{lead}/1": 'did you mean "umount2"?',
        f"{lead}/2": 'did you mean "keyctl"?',
        f"{lead}/4": "",
    }
    assert "is not known to libseccomp" in found[f"{lead}/1"][0]


def test_calls_newer_than_the_library_are_no_slips(tmp_path: Path) -> None:
    found = warnings(tmp_path, seccomp(*sorted(RECENT_CALLS)))
    assert {remedy for _, remedy in found.values()} <= {""}


def test_a_newer_call_that_stays_refused_is_no_slip(tmp_path: Path) -> None:
    document = seccomp(*sorted(RECENT_CALLS))
    document["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ERRNO"
    document["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ALLOW"
    assert warnings(tmp_path, document) == {}


def test_without_libseccomp_the_calls_are_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocirun.kernel.libseccomp.NAME", "libseccomp.so.none")
    found = warnings(tmp_path, seccomp("mount", "keyctll"))
    assert set(found) == {"/linux/seccomp/syscalls"}
    assert "libseccomp.so.none is not installed" in found["/linux/seccomp/syscalls"][0]


def test_the_library_lists_its_calls() -> None:
    library = Library()
    calls = library.native_calls()
    assert calls["openat2"] == 437
    assert len(calls) > 300
    assert all(library.system_call(name) == number for name, number in calls.items())


def hiding(*paths: str, mounts: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    proc = {"destination": "/proc", "type": "proc"}
    return written(mounts=[proc, *mounts], linux={"maskedPaths": list(paths)})


def test_a_hidden_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "secrets").write_text("")
    volume = {"destination": "/data", "source": "volume", "options": ["bind"]}
    document = hiding(
        "/proc/kcor", "/proc/cpuinof", "/dat", "/data/secrets", "/data/secret", "/proc/zzz",
        mounts=(volume,),
    )  # fmt: skip
    found = warnings(tmp_path, document)
    assert {where: remedy for where, (_, remedy) in found.items()} == {
        "/linux/maskedPaths/0": 'did you mean "/proc/kcore"?',
        "/linux/maskedPaths/1": 'did you mean "/proc/cpuinfo"?',
        "/linux/maskedPaths/2": 'did you mean "/data"?',
        "/linux/maskedPaths/4": 'did you mean "/data/secrets"?',
        "/linux/maskedPaths/5": "",
    }


def test_a_hidden_path_that_may_be_there_is_not_named(tmp_path: Path) -> None:
    """Below a link, in a file system that is empty until then, of a process, or usual."""
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "rootfs" / "link").symlink_to("/data")
    tmpfs = {"destination": "/dev", "type": "tmpfs"}
    paths = ("/link/none", "/dev/none", "/proc/1/none", "/proc/acpi", "/proc/latency_stats")
    assert warnings(tmp_path, hiding(*paths, mounts=(tmpfs,))) == {}


@pytest.mark.parametrize("rootless", [False, True])
def test_our_own_configuration_has_no_slip(tmp_path: Path, rootless: bool) -> None:
    assert warnings(tmp_path, default_config(rootless=rootless)) == {}
    assert warnings(tmp_path, json.loads(json.dumps(hardened_config()))) == {}


@pytest.mark.parametrize("name", ["containerd", "docker", "podman"])
def test_the_engines_make_no_slips(tmp_path: Path, name: str) -> None:
    """Names of system calls apart, of which theirs are newer than some libraries."""
    document = json.loads((CONFIGS / f"{name}.json").read_text())
    found = examined(tmp_path, document).warnings
    assert [str(one) for one in found if one.remedy] == []
    assert all(one.pointer.startswith("/linux/seccomp/") for one in found)
