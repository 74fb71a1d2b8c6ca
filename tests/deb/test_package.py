"""The Debian package, judged by lintian; installed, upgraded and removed in a bare Debian."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.machine import REPO, find_busybox
from harness.needs import needs

from deb.bare import Bare

pytestmark = [pytest.mark.deb, needs("root", "tool debootstrap", "tool dpkg-deb")]

PRIVATE = "/usr/lib/ocirun"
SNAPSHOT = f"{PRIVATE}/lib/ocirun/snapshot"
# Everything that ocirun can import, imported with the packages that came along.
IMPORT_ALL = f"""
import glob, importlib, os, pkgutil, sys
sys.path[:0] = glob.glob("{PRIVATE}/lib/python3*/site-packages")
import ocirun
# What only launchers import is left out.
names = [found.name for found in pkgutil.walk_packages(ocirun.__path__, "ocirun.")]
for name in names:
    if name not in ("ocirun.__main__", "ocirun.kernel.archive", "ocirun.kernel.linked"):
        importlib.import_module(name)
import pyroute2.netlink.rtnl.ifaddrmsg, typer.testing, jsonschema, rich.live, jeepney
print(len(names))
"""


@pytest.fixture(scope="module")
def package() -> Path:
    """The package that `make deb` has built."""
    found = sorted((REPO / "dist").glob("ocirun_*.deb"), key=lambda path: path.stat().st_mtime)
    assert found, "no dist/ocirun_*.deb: call make deb"
    return found[-1]


@pytest.fixture(scope="module")
def bare(untouched: Bare, package: Path, memory: Path) -> Bare:
    """A bare Debian where the package is installed, and a bundle is at /bundle."""
    bare = untouched.copy(memory / "bare")
    bare.apt_install(package)
    root = bare.root
    (root / "bundle/rootfs/bin").mkdir(parents=True)
    for name in ("sh", "sleep"):
        shutil.copy(find_busybox(), root / "bundle/rootfs/bin" / name)
    bare.run("ocirun", "spec", "--bundle", "/bundle")
    return bare


def test_the_package_makes_what_machines_boot(package: Path, tmp_path: Path) -> None:
    """By tools/vm and what it reads, without anything else of this repository."""
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "tree"], check=True)
    tools = (tmp_path / "tree/usr/share/ocirun/tools/vm", REPO / "tools/vm")
    for number, tool in enumerate(tools):
        subprocess.run([tool, tmp_path / str(number)], check=True, cwd="/")
    for name in ("initrd", "package"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def same_python(bare: Bare) -> bool:
    """Was the package built with the very Python that the bare system has?"""
    ask = ["python3", "-c", "import sys; print(sys.version)"]
    ours = subprocess.run(
        ["/usr/bin/python3", *ask[1:]], capture_output=True, text=True, check=True
    )
    return ours.stdout == bare.run(*ask)


def set_command(bare: Bare, command: str) -> None:
    """Have the container of /bundle run a command of the shell."""
    file = bare.root / "bundle/config.json"
    config = json.loads(file.read_text())
    config["process"].update(args=["sh", "-c", command], terminal=False)
    file.write_text(json.dumps(config))


@needs("tool lintian")
def test_lintian_finds_nothing(package: Path) -> None:
    words = ["lintian", "--fail-on", "error,warning", "--allow-root", str(package)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_only_ocirun_is_on_the_path(bare: Bare) -> None:
    files = bare.run("dpkg", "-L", "ocirun").split()
    assert [path for path in files if path.startswith("/usr/bin/")] == ["/usr/bin/ocirun"]
    programs = sorted(path for path in files if path.startswith(f"{PRIVATE}/bin/"))
    assert set(programs) <= {f"{PRIVATE}/bin/ocirun", f"{PRIVATE}/bin/ocirun-cold"}


def test_everything_that_is_imported_came_along(bare: Bare) -> None:
    assert int(bare.run("python3", "-I", "-c", IMPORT_ALL)) > 150


def test_manuals_and_completions_are_where_they_are_looked_for(bare: Bare) -> None:
    for path in (
        "usr/share/man/man1/ocirun.1.gz",
        "usr/share/man/man1/ocirun-create.1.gz",
        "usr/share/man/man5/ocirun-config.5.gz",
        "usr/share/man/man7/ocirun-bundle.7.gz",
        "usr/share/bash-completion/completions/ocirun",
        "usr/share/zsh/vendor-completions/_ocirun",
        "usr/share/fish/vendor_completions.d/ocirun.fish",
        "usr/share/doc/ocirun/copyright",
    ):
        assert (bare.root / path).stat().st_size > 100, path


def test_a_snapshot_is_made_where_the_python_is_that_of_the_build(bare: Bare) -> None:
    made = (bare.root / SNAPSHOT.lstrip("/")).exists()
    fast = (bare.root / f"{PRIVATE}/bin/ocirun-cold".lstrip("/")).exists()
    assert made == (fast and same_python(bare))


def test_a_container_runs(bare: Bare) -> None:
    set_command(bare, "echo $((6 * 7))")
    assert bare.run("ocirun", "run", "--bundle", "/bundle", "one") == "42\n"
    bare.run("ocirun", "try", "--", "cat", "/etc/debian_version")


def test_the_cold_command_line_works(bare: Bare) -> None:
    assert "Usage: ocirun" in bare.run("ocirun", "--help")
    said = bare.run("ocirun", "delete", "nosuch", "--force")  # an option behind its words: typer
    assert said == ""
    bare.run("sh", "-c", "mkdir /wrong; echo '{\"ociVersion\": 1}' >/wrong/config.json")
    assert "ociVersion" in bare.run("ocirun", "validate", "/wrong", status=1)


def test_an_upgrade_keeps_what_runs(bare: Bare, package: Path, tmp_path: Path) -> None:
    set_command(bare, "sleep 300")
    tree = tmp_path / "tree"
    subprocess.run(["dpkg-deb", "-R", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: ", "\nVersion: 1:"))
    newer = tmp_path / "ocirun_newer.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", str(tree), str(newer)], check=True
    )
    shutil.copy(newer, bare.root / "root/newer.deb")
    script = (
        "ocirun create --bundle /bundle web && ocirun start web"
        " && dpkg -i /root/newer.deb >/dev/null"
        ' && ocirun exec web sh -c "echo inside" && ocirun delete --force web'
    )
    assert bare.run("sh", "-c", script).splitlines()[-1] == "inside"
    assert bare.run("dpkg-query", "-W", "-f", "${Version}", "ocirun").startswith("1:")


def test_an_upgrade_of_python_makes_the_snapshot_anew(bare: Bare) -> None:
    snapshot = bare.root / SNAPSHOT.lstrip("/")
    before = snapshot.stat().st_ino if snapshot.exists() else None
    os_py = bare.run("sh", "-c", "echo /usr/lib/python3.*/os.py").strip()
    bare.run("sh", "-c", f"dpkg-trigger --by-package=ocirun --await {os_py}; dpkg --configure -a")
    assert (snapshot.stat().st_ino if snapshot.exists() else None) != before or before is None


def test_removed_it_leaves_nothing(bare: Bare) -> None:
    bare.run("apt-get", "purge", "-y", "-qq", "ocirun")
    assert bare.run("find", "/usr", "/etc", "/var", "-name", "*ocirun*") == ""
