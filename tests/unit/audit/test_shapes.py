"""What engines write by default comes out with the grades that docs/audit.md lists.

Source: docs/audit.md#known-defaults; tests/data/configs/README.md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.bad_bundles import shape

from ocirun.audit.examine import audit_bundle
from ocirun.audit.finding import Finding
from ocirun.spec.default import default_config
from ocirun.spec.seccomp_profile import default_profile

SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def findings(config: dict[str, Any], bundle: Path) -> list[Finding]:
    """The findings of `config` in a bundle whose files are there and hold nothing."""
    (bundle / "rootfs").mkdir(exist_ok=True)
    for name in ("resolv.conf", "hostname", "hosts", ".containerenv"):
        (bundle / name).touch()
    (bundle / "shm").mkdir(exist_ok=True)
    text = json.dumps(config).replace("/nonexistent", str(bundle))
    (bundle / "config.json").write_text(text)
    return audit_bundle(str(bundle)).findings


def rules(found: list[Finding], grade: str) -> set[str]:
    return {one.rule.name for one in found if one.grade == grade}


def runtime_default() -> dict[str, Any]:
    """The shape of the profile of Docker and containerd: an allow-list for three architectures.

    Beyond our own it allows calls that read and write other processes of the same user, and
    sockets of every family but AF_VSOCK.
    """
    profile: dict[str, Any] = dict(default_profile())
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    names = ["ptrace", "process_vm_readv", "process_vm_writev"]
    not_vsock = {"index": 0, "value": 40, "op": "SCMP_CMP_NE"}
    profile["syscalls"] = [
        *(rule for rule in profile["syscalls"] if rule["names"] != ["socket"]),
        {"names": names, "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [not_vsock]},
    ]
    return profile


def engine(name: str, seccomp: dict[str, Any]) -> dict[str, Any]:
    """The default of an engine, with its seccomp profile."""
    config = shape(name)
    config["root"]["path"] = "rootfs"
    config["linux"]["seccomp"] = seccomp
    return config


def restricted() -> dict[str, Any]:
    """A pod of the level "restricted" of Kubernetes' Pod Security Standards, on containerd.

    runAsNonRoot, no privilege escalation, all capabilities dropped, seccomp RuntimeDefault; the
    limits are not part of the level.
    """
    config = engine("containerd", runtime_default())
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    config["process"]["noNewPrivileges"] = True
    config["process"]["capabilities"] = {kind: [] for kind in SETS}
    config["linux"]["resources"]["pids"] = {"limit": 1024}
    config["linux"]["resources"]["memory"] = {"limit": 128 << 20}
    return config


def test_the_default_of_docker_has_medium_findings_at_worst(tmp_path: Path) -> None:
    found = findings(engine("docker", runtime_default()), tmp_path)
    assert rules(found, "critical") | rules(found, "high") == set()
    assert rules(found, "medium") == {
        "root-is-host-root",
        "no-new-privs-off",
        "cap-net-raw",
        "pids-unlimited",
        "memory-unlimited",
    }


def test_docker_without_its_seccomp_profile_is_high(tmp_path: Path) -> None:
    config = engine("docker", runtime_default())
    del config["linux"]["seccomp"]
    found = findings(config, tmp_path)
    assert rules(found, "high") == {"seccomp-absent"}


def test_the_default_of_podman_has_medium_findings_at_worst(tmp_path: Path) -> None:
    found = findings(engine("podman", shape("seccomp")), tmp_path)
    assert rules(found, "critical") | rules(found, "high") == set()
    assert rules(found, "medium") == {
        "root-is-host-root",
        "no-new-privs-off",
        "memory-unlimited",
        "cap-net-raw",
        "seccomp-namespaces",
        "seccomp-keyrings",
    }


def test_restricted_of_kubernetes_is_low_at_worst(tmp_path: Path) -> None:
    found = findings(restricted(), tmp_path)
    assert rules(found, "critical") | rules(found, "high") | rules(found, "medium") == set()
    assert rules(found, "low") == {
        "writable-root",
        "host-cgroup",
        "seccomp-processes",
        "seccomp-sockets",
    }


def test_restricted_without_limits_is_medium(tmp_path: Path) -> None:
    config = restricted()
    del config["linux"]["resources"]["pids"], config["linux"]["resources"]["memory"]
    found = findings(config, tmp_path)
    assert rules(found, "medium") == {"pids-unlimited", "memory-unlimited"}


def test_a_privileged_container_is_critical(tmp_path: Path) -> None:
    """What engines write for --privileged: all capabilities and devices, nothing hidden."""
    from ocirun.spec.capabilities import CAPABILITIES

    config = engine("docker", runtime_default())
    for kind in ("bounding", "effective", "permitted"):
        config["process"]["capabilities"][kind] = list(CAPABILITIES)
    linux = config["linux"]
    del linux["seccomp"]
    linux["maskedPaths"], linux["readonlyPaths"] = [], []
    linux["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
    for one in config["mounts"]:
        one["options"] = ["rw" if word == "ro" else word for word in one["options"]]
    found = findings(config, tmp_path)
    assert {
        "cap-sys-admin",
        "cap-sys-module",
        "cap-sys-rawio",
        "device-rules",
        "writable-kernel-path",
        "cgroup-writable",
    } <= rules(found, "critical")


def test_the_default_of_spec_lacks_a_filter_and_limits(tmp_path: Path) -> None:
    config: dict[str, Any] = dict(default_config(cgroup_v2=True))
    config["process"]["terminal"] = False
    found = findings(config, tmp_path)
    assert rules(found, "critical") == set()
    assert rules(found, "high") == {"seccomp-absent"}
