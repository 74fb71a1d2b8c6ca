"""The same paths and the same values in the files as runc leaves there.

Source: docs/runc-compat/cgroups.md#paths, docs/runc-compat/cgroups.md#conversion-of-resources.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from harness.cgroups import MB, NOTHING, leftovers, on_v1
from harness.limits import settings

from ocirun.cgroups.choose import new_cgroup
from ocirun.cgroups.directories import remove_directories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ocirun.cgroups.cgroup import Cgroup

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make cgroups"),
]
with_runc = pytest.mark.skipif(
    not (shutil.which("runc") and shutil.which("busybox")), reason="runc and busybox not installed"
)


@pytest.fixture
def runc(tmp_path: Path, name: str) -> Iterator[Callable[[str, dict[str, Any]], dict[str, str]]]:
    """Let runc make a container with that cgroupsPath and those limits; its cgroups come back."""
    binaries = tmp_path / "rootfs" / "bin"
    binaries.mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), binaries / "sh")
    root = ["runc", "--root", str(tmp_path / "state")]

    def create(cgroups_path: str, resources: dict[str, Any]) -> dict[str, str]:
        subprocess.run(["runc", "spec"], cwd=tmp_path, check=True)
        config = json.loads((tmp_path / "config.json").read_text())
        config["process"].update(terminal=False, args=["sh"], rlimits=[])
        config["linux"].update(cgroupsPath=cgroups_path, resources=resources)
        (tmp_path / "config.json").write_text(json.dumps(config))
        with open(tmp_path / "log", "w+") as log:
            words = [*root, "create", "--bundle", str(tmp_path), name]
            made = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
            )
            log.seek(0)
            assert made.returncode == 0, log.read()
        (tmp_path / "config.json").unlink()
        state = json.loads((tmp_path / "state" / name / "state.json").read_text())
        paths: dict[str, str] = state["cgroup_paths"]
        return paths

    yield create
    subprocess.run([*root, "delete", "--force", name], check=True)
    # runc says that it could not, and gives up, where its init takes a while to die.
    remove_directories(map(str, leftovers(name)))


@on_v1
@with_runc
@pytest.mark.parametrize(
    "resources",
    [
        {},
        {"devices": NOTHING},
        {"devices": [{"allow": True, "access": "rwm"}]},
        {
            "devices": [
                *NOTHING,
                {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                {"allow": True, "type": "b", "major": 8, "access": "r"},
                {"allow": False, "type": "b", "major": 8, "access": "w"},
            ],
            "memory": {
                "limit": 64 * MB, "swap": 128 * MB, "reservation": 32 * MB, "swappiness": 10
            },
            "cpu": {
                "shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"
            },
            "pids": {"limit": 20},
        },
        {"memory": {"limit": 64 * MB}, "pids": {"limit": -1}, "cpu": {"quota": -1}},
        {"memory": {"limit": -1}, "cpu": {"shares": 2}},
        {"memory": {"limit": 32 * MB, "swap": -1, "disableOOMKiller": True}},
    ],
    ids=["none", "no devices", "all devices", "many", "unlimited pids", "no limit", "endless swap"],
)  # fmt: skip
def test_files_hold_what_runc_writes(
    cgroup: Cgroup,
    name: str,
    runc: Callable[[str, dict[str, Any]], dict[str, str]],
    resources: dict[str, Any],
) -> None:
    theirs = runc(f"{name}-runc", resources)
    cgroup.prepare(resources)
    cgroup.apply(resources)
    assert sorted(cgroup.paths) == sorted(theirs)
    for controller, path in cgroup.paths.items():
        ours = settings(path)
        assert ours == settings(theirs[controller])
        if controller not in ("", "name=systemd", "cpuacct"):
            assert any(file.startswith(controller) for file in ours), "nothing was compared"


@on_v1
@with_runc
@pytest.mark.parametrize("form", ["/NAME", "NAME", "../../NAME", "/../x/../NAME", "NAME//.", ""])
def test_paths_are_the_ones_runc_computes(
    name: str, runc: Callable[[str, dict[str, Any]], dict[str, str]], form: str
) -> None:
    path = form.replace("NAME", name)
    theirs = runc(path, {})
    assert new_cgroup(path, name, "cgroupfs").paths == theirs
