"""`features` says what the code does: each value against the table or the code it is about.

Whoever adds or removes a feature and forgets spec/features.py finds out here.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from ocirun.spec.features import IDMAP_OPTIONS, OCI_VERSION_MIN, features
from ocirun.spec.mount_options import MOUNT_OPTIONS, read_options


def acted_on(section: str, name: str) -> bool:
    from ocirun.process.refusals import NOT_YET

    return (section, name) not in NOT_YET


@pytest.mark.parametrize(
    ("feature", "section", "name"),
    [
        ("apparmor", "process", "apparmorProfile"),
        ("selinux", "process", "selinuxLabel"),
        ("intelRdt", "linux", "intelRdt"),
        ("netDevices", "linux", "netDevices"),
    ],
)
def test_what_is_refused_is_no_feature(feature: str, section: str, name: str) -> None:
    linux = features()["linux"]
    assert linux[feature] == {key: acted_on(section, name) for key in linux[feature]}  # type: ignore[literal-required]


def test_every_refusal_is_about_a_feature() -> None:
    """A row that comes to the table has to be thought of in `features`."""
    from ocirun.process.refusals import NOT_YET

    assert {name for _, name in NOT_YET} <= {"netDevices", "intelRdt", "memoryPolicy", "seccomp"}


def test_memory_policies_are_those_the_kernel_is_told() -> None:
    from ocirun.process.steps import scheduling
    from ocirun.spec import memory_policy

    told = features()["linux"]["memoryPolicy"]
    assert acted_on("linux", "memoryPolicy")
    assert told == {"modes": list(memory_policy.MODES), "flags": list(memory_policy.FLAGS)}
    assert scheduling.set_memory_policy


def test_namespaces_are_those_that_can_be_made() -> None:
    from ocirun.process.namespaces import FLAGS

    assert features()["linux"]["namespaces"] == sorted(FLAGS)


def test_hooks_are_those_of_the_schema_and_all_are_called() -> None:
    from ocirun.spec.schema import schemas_directory

    schema = json.loads((Path(schemas_directory()) / "config" / "hooks.json").read_bytes())
    assert features()["hooks"] == list(schema["properties"])


def test_each_mount_option_is_understood_and_not_left_to_the_file_system() -> None:
    told = features()["mountOptions"]
    assert set(told) == MOUNT_OPTIONS.keys() - IDMAP_OPTIONS
    for word in told:
        assert read_options([word]).data == []
    assert read_options(["no-such-word"]).data == ["no-such-word"]


def test_idmapped_mounts_are_a_feature_while_there_is_code_for_them() -> None:
    here = find_spec("ocirun.process.idmapped_mounts") is not None
    assert features()["linux"]["mountExtensions"] == {"idmap": {"enabled": here}}
    assert MOUNT_OPTIONS.keys() > IDMAP_OPTIONS


def test_cgroup_managers_and_trees() -> None:
    from ocirun.cgroups import choose

    told = features()["linux"]["cgroup"]
    systemd = choose.known_cgroup({}, "systemd", "x.scope").manager == "systemd"
    assert told["systemd"] == told["systemdUser"] == systemd
    assert told["v1"] == (find_spec("ocirun.cgroups.v1.cgroup") is not None)
    assert told["v2"] == (find_spec("ocirun.cgroups.v2.cgroup") is not None)
    both = [find_spec(f"ocirun.cgroups.{tree}.rdma") is not None for tree in ("v1", "v2")]
    assert told["rdma"] == all(both)


@pytest.mark.parametrize(("mode", "word"), [(0o755, "true"), (0o644, "false")])
def test_checkpoints_are_offered_where_there_is_criu(
    mode: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "criu").touch(mode)
    monkeypatch.setenv("PATH", f"relative:{tmp_path}")
    assert features()["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == word


def test_versions_are_those_of_the_schemas() -> None:
    from ocirun.spec.default import OCI_VERSION

    document = features()
    assert (document["ociVersionMin"], document["ociVersionMax"]) == (OCI_VERSION_MIN, OCI_VERSION)
    assert OCI_VERSION.startswith("1.3.")


def test_seccomp_is_there_when_its_library_is() -> None:
    from ocirun.kernel.libseccomp import Library
    from ocirun.spec.seccomp import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS

    try:
        Library()
    except FileNotFoundError:
        assert features()["linux"]["seccomp"] == {"enabled": False}
        return
    told = features()["linux"]["seccomp"]
    assert told["enabled"]
    assert told["actions"] == list(ACTIONS)
    assert told["operators"] == list(OPERATORS)
    assert told["knownFlags"] == sorted(FLAGS)
    assert set(told["archs"]) <= set(ARCHITECTURES)
    assert set(told["supportedFlags"]) <= set(FLAGS)
