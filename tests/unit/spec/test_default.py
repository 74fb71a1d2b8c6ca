"""`spec`: the document runc writes, but for the differences that are named here."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ocirun.spec.checks import check_config
from ocirun.spec.default import OCI_VERSION, default_config
from ocirun.spec.jsontext import indented
from ocirun.spec.rules import check_rules

if TYPE_CHECKING:
    from pathlib import Path

ALL = [(False, False), (False, True), (True, False), (True, True)]


@pytest.mark.parametrize(("rootless", "cgroup_v2"), ALL)
def test_default_config_conforms(rootless: bool, cgroup_v2: bool) -> None:
    config = default_config(rootless, cgroup_v2, 1000, 100)
    assert check_config(config)
    assert check_rules(config) == []
    assert config["ociVersion"] == OCI_VERSION


@pytest.mark.parametrize("rootless", [False, True])
def test_default_config_is_runcs(rootless: bool, tmp_path: Path) -> None:
    runc = shutil.which("runc")
    if not runc:
        pytest.skip("runc is not installed")
    flags = ["--rootless"] if rootless else []
    subprocess.run([runc, "spec", "--bundle", str(tmp_path), *flags], check=True)
    theirs: Any = json.loads((tmp_path / "config.json").read_bytes())
    # What differs: the version; and the ambient capabilities, which later runcs left out.
    theirs["ociVersion"] = OCI_VERSION
    theirs["process"]["capabilities"].pop("ambient", None)
    maps = theirs["linux"].get("uidMappings", [{"hostID": 0}])
    groups = theirs["linux"].get("gidMappings", [{"hostID": 0}])
    cgroup_v2 = {"type": "cgroup"} in theirs["linux"]["namespaces"]
    ours = default_config(rootless, cgroup_v2, maps[0]["hostID"], groups[0]["hostID"])
    # Compared as text: the order of members counts too.
    assert indented(ours, "\t") == json.dumps(theirs, indent="\t")


def test_rootless_maps_the_caller_and_only_the_caller() -> None:
    linux = default_config(True, True, 1000, 100)["linux"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    assert kinds == ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    assert "resources" not in linux


def test_two_documents_share_nothing() -> None:
    first = default_config()
    first["linux"]["maskedPaths"].clear()
    first["process"]["capabilities"]["bounding"].clear()
    second = default_config()
    assert second["linux"]["maskedPaths"]
    assert second["process"]["capabilities"]["bounding"]
    assert second["process"]["capabilities"]["permitted"]
