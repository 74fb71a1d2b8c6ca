"""`features`: true to the schema, to the tables, and to what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.devices import DEFAULT_DEVICES, DEFAULT_RULES, devices_of, implied_rules
from ocirun.spec.features import features
from ocirun.spec.schema import report
from ocirun.spec.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from ocirun.spec.sysctls import dotted, namespace_of, path_of

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).parents[3]


def test_features_conform_to_their_schema() -> None:
    assert report(features(), "features") == []


def test_features_list_the_words_of_the_schemas() -> None:
    words = json.loads((REPOSITORY / "schemas" / "types.json").read_bytes())["$defs"]
    linux = features()["linux"]
    assert set(linux["memoryPolicy"]["modes"]) == set(words["memoryPolicyMode"]["enum"])
    assert set(linux["memoryPolicy"]["flags"]) == set(words["memoryPolicyFlag"]["enum"])
    assert sorted(ACTIONS) == sorted(words["seccompAction"]["enum"])
    assert sorted(OPERATORS) == sorted(words["seccompOperator"]["enum"])
    assert sorted(ARCHITECTURES) == sorted(words["seccompArch"]["enum"])
    assert sorted(FLAGS) == sorted(words["seccompFlag"]["enum"])
    if linux["seccomp"]["enabled"]:
        assert linux["seccomp"]["actions"] == sorted(words["seccompAction"]["enum"])
        assert "SCMP_ARCH_X86_64" in linux["seccomp"]["archs"]
        assert "SECCOMP_FILTER_FLAG_LOG" in linux["seccomp"]["supportedFlags"]


def test_features_without_libseccomp(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocirun.kernel import libseccomp

    monkeypatch.setattr(libseccomp, "NAME", "libseccomp-that-is-not-there.so")
    assert features()["linux"]["seccomp"] == {"enabled": False}


def test_features_name_what_callers_look_for() -> None:
    document = features()
    assert document["ociVersionMin"] == "1.0.0"
    assert document["ociVersionMax"] == "1.3.0"
    assert len(document["hooks"]) == 6
    assert "rro" in document["mountOptions"]
    assert "MPOL_WEIGHTED_INTERLEAVE" in document["linux"]["memoryPolicy"]["modes"]
    assert "idmap" not in document["mountOptions"]
    assert document["mountOptions"] == sorted(document["mountOptions"])
    assert document["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    kinds = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert document["linux"]["namespaces"] == kinds
    assert "org.opencontainers.runc.commit" not in document["annotations"]


def test_features_have_every_mount_option_of_runc(reference: Path) -> None:
    place = reference / "test" / "features" / "good" / "runc.json"
    theirs = set(json.loads(place.read_bytes())["mountOptions"])
    # acl and noacl: MS_POSIXACL is nothing a mount can be asked for; runc dropped both later.
    assert theirs - set(features()["mountOptions"]) == {"acl", "noacl"}


def test_capabilities_are_the_kernels_in_order() -> None:
    assert list(CAPABILITIES.values()) == list(range(41))
    assert all(name.startswith("CAP_") for name in CAPABILITIES)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert last <= 40, "this kernel has a capability we do not know"


def test_default_devices_give_way_to_the_configs() -> None:
    null = {"path": "/dev/null", "type": "c", "major": 9, "minor": 9}
    config = {"ociVersion": "1.3.0", "linux": {"devices": [null]}}
    devices = devices_of(config)  # type: ignore[typeddict-item]  # a small config
    assert [device["path"] for device in devices] == [
        "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/null",
    ]  # fmt: skip
    assert devices[-1] is null
    assert devices_of({"ociVersion": "1.3.0"}) == DEFAULT_DEVICES


def test_default_devices_are_allowed() -> None:
    allowed = {(rule["type"], rule.get("major"), rule.get("minor")) for rule in DEFAULT_RULES}
    assert {(one["type"], one["major"], one["minor"]) for one in DEFAULT_DEVICES} <= allowed


def test_sysctl_names_have_two_spellings_and_one_path() -> None:
    for name in ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"):
        assert path_of(name) == "net/ipv4/conf/eth0.1/rp_filter"
        assert dotted(name) == "net.ipv4.conf.eth0/1.rp_filter"
    for name in ("", ".", "/", "net./../x", "net/../x", "a..b", "/net/x", "net."):
        assert path_of(name) == ""
        assert namespace_of(dotted(name)) == ""


def test_a_node_of_the_config_takes_the_implied_rule_of_the_usual_one_away() -> None:
    own = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
    more = {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}
    assert implied_rules({}) == DEFAULT_RULES
    left = implied_rules({"linux": {"devices": [own, more]}})
    gone = [rule for rule in DEFAULT_RULES if rule not in left]
    assert gone == [{"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]
