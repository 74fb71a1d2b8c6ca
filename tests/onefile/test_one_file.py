"""The one-file build: copied into a bare Debian without Python, moved, cut, called by a user."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deb.bare import Bare
from harness.machine import REPO, find_busybox
from harness.needs import needs

pytestmark = [pytest.mark.onefile, needs("root", "tool debootstrap")]

OCIRUN = "/usr/local/bin/ocirun"
GREET = "echo $((6 * 7))"


@pytest.fixture(scope="module")
def built() -> Path:
    """The file that `make onefile` has built."""
    found = list((REPO / "dist").glob("ocirun-*-linux-x86_64"))
    assert found, "no dist/ocirun-*-linux-x86_64: call make onefile"
    return max(found, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def bare(untouched: Bare, built: Path, memory: Path) -> Bare:
    """A bare Debian with the file at OCIRUN, and a bundle at /bundle."""
    bare = untouched.copy(memory / "node")
    shutil.copy(built, bare.root / OCIRUN.lstrip("/"))
    (bare.root / "bundle/rootfs/bin").mkdir(parents=True)
    for name in ("sh", "sleep"):
        shutil.copy(find_busybox(), bare.root / "bundle/rootfs/bin" / name)
    set_command(bare, GREET)
    return bare


def set_command(bare: Bare, command: str, *spec: str, **linux: object) -> None:
    """Write a config.json that runs a command of the shell, as `ocirun spec` would."""
    bare.run("rm", "-f", "/bundle/config.json")
    bare.run(OCIRUN, "spec", "--bundle", "/bundle", *spec)
    file = bare.root / "bundle/config.json"
    config = json.loads(file.read_text())
    config["process"].update(args=["sh", "-c", command], terminal=False)
    config["linux"].update(linux)
    file.write_text(json.dumps(config))


def test_a_container_runs_from_the_snapshot_without_python(bare: Bare) -> None:
    bare.run("sh", "-c", "command -v python3", status=127)
    assert "started from a snapshot" in bare.run(OCIRUN, "--debug", "state", "x", status=1)
    assert bare.run(OCIRUN, "run", "--bundle", "/bundle", "one") == "42\n"
    places = ["/usr", "/var", "/etc", "/root", "/tmp"]  # nothing is written beside the state
    assert bare.run("find", *places, "-name", "*ocirun*") == f"{OCIRUN}\n"


def test_what_the_archive_has_is_found(bare: Bare) -> None:
    """Typer with compiled modules, jsonschema with data files, cffi, pyroute2."""
    assert bare.run(OCIRUN, "delete", "nosuch", "--force") == ""
    bare.run("sh", "-c", "mkdir -p /wrong; echo '{\"ociVersion\": 1}' >/wrong/config.json")
    said = bare.run(OCIRUN, "validate", "/wrong", status=1)
    assert "/ociVersion: must be a string" in said
    assert "fast start" in bare.run(OCIRUN, "doctor", status=None)
    assert bare.run(OCIRUN, "net", "ls").startswith("ID")
    bare.run(OCIRUN, "--trace", "/trace.json", "run", "--bundle", "/bundle", "traced")
    bare.run(OCIRUN, "trace", "view", "/trace.json", "-o", "/trace.html")
    assert "<script" in (bare.root / "trace.html").read_text()
    assert "contains its snapshot" in bare.run(OCIRUN, "snapshot", status=1)
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]}  # fmt: skip
    set_command(bare, f"mkdir /dev/shm/x || {GREET}", seccomp=profile)
    try:
        said = bare.run(OCIRUN, "run", "--bundle", "/bundle", "filtered")
    finally:
        set_command(bare, GREET)
    assert said.splitlines()[-1] == "42"


def test_cut_off_it_starts_the_ordinary_way(bare: Bare) -> None:
    whole = bare.root / OCIRUN.lstrip("/")
    cut = whole.with_name("cut")
    cut.write_bytes(whole.read_bytes()[:-16])
    cut.chmod(0o755)
    said = bare.run("/usr/local/bin/cut", "--debug", "state", "x", status=1)
    assert "started without a snapshot: the file is cut off" in said
    assert bare.run("/usr/local/bin/cut", "run", "--bundle", "/bundle", "two") == "42\n"


def test_it_can_be_moved_while_a_container_runs(bare: Bare) -> None:
    set_command(bare, "sleep 300")
    script = (
        f"{OCIRUN} create --bundle /bundle web && mv {OCIRUN} /opt/runtime"
        " && /opt/runtime start web && /opt/runtime exec web sh -c 'echo inside'"
        f" && /opt/runtime delete --force web && mv /opt/runtime {OCIRUN}"
    )
    try:
        assert bare.run("sh", "-c", script) == "inside\n"
    finally:
        set_command(bare, GREET)


def test_init_does_not_show_the_file(bare: Bare) -> None:
    """CVE-2019-5736: what init executes is a private overlay or a sealed copy."""
    script = (
        f"{OCIRUN} create --bundle /bundle --pid-file /pid shown >/dev/null"
        " && stat -L -c %d:%i /proc/$(cat /pid)/exe"
        f" && stat -c %d:%i {OCIRUN}; {OCIRUN} delete --force shown"
    )
    shown, own = bare.run("sh", "-c", script).split()
    assert shown != own


def test_an_ordinary_user_runs_a_container(bare: Bare) -> None:
    """Without the right to mount overlays outside a user namespace, the whole file is copied."""
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    set_command(bare, GREET, "--rootless", uidMappings=mapping, gidMappings=mapping)
    bare.run("chown", "-R", "1000:1000", "/bundle")
    bare.run("install", "-d", "-o", "1000", "-g", "1000", "/home/user")
    as_user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"]
    run = [OCIRUN, "--root", "/home/user/state", "run", "--bundle", "/bundle", "mine"]
    try:
        assert bare.run(*as_user, *run) == "42\n"
    finally:
        bare.run("chown", "-R", "0:0", "/bundle")
        set_command(bare, GREET)


def test_another_build_has_the_same_bytes(built: Path, tmp_path: Path) -> None:
    """In another folder, at another time; of the same commit if nothing was changed since."""
    elsewhere = tmp_path / "a folder" / "sources"
    names = subprocess.run(
        ["git", "-C", str(REPO), "ls-files", "-z"], capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, elsewhere / name)
    words = [sys.executable, str(elsewhere / "tools/onefile/build.py"), str(tmp_path / "out")]
    subprocess.run(words, cwd="/", stdout=subprocess.DEVNULL, check=True)
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (built, tmp_path / "out" / built.name)
    ]
    assert digests[0] == digests[1]
