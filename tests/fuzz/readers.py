"""The readers of foreign bytes: each function takes what others wrote, as one text of bytes."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from ocirun.cgroups import stat
from ocirun.cgroups.files import read_counter
from ocirun.cgroups.paths import Table, hierarchies_of, own_hierarchies, v1_paths, v2_path
from ocirun.cgroups.systemd.annotations import PREFIX, annotated_properties
from ocirun.container import request
from ocirun.container.folder import Folder
from ocirun.container.inherited_process import config_with
from ocirun.container.record import CONFIG_FILE, STATE_FILE, read_config
from ocirun.container.resources import given_part, to_restore, to_write, with_given
from ocirun.container.state import list_states
from ocirun.container.store import Store
from ocirun.criu import log, messages, stdio
from ocirun.errors import SpecError
from ocirun.kernel import mountinfo as kernel_mountinfo
from ocirun.process.channel import Channel, PeerGone
from ocirun.process.environment import home_of
from ocirun.rootfs import pivot
from ocirun.security.seccomp.program import prepare_filter
from ocirun.spec import checks
from ocirun.spec.jsontext import parse
from ocirun.spec.load import check_process, check_resources, load_config
from ocirun.spec.rules import check_rules
from ocirun.spec.validate import examine_bundle

HERE = Path(__file__).parent
DOCUMENTS = HERE.parent / "unit" / "spec" / "documents"

_folder: Path | None = None


def folder() -> Path:
    """Return a folder for the files that targets read."""
    global _folder  # noqa: PLW0603  # made once, by whoever needs it first
    if _folder is None:
        _folder = Path(tempfile.mkdtemp(prefix="ocirun-fuzz-"))
        atexit.register(shutil.rmtree, _folder, ignore_errors=True)
        for name in ("root/etc", "cgroup", "state/web", "bundle/rootfs", "images"):
            (_folder / name).mkdir(parents=True)
    return _folder


def file(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


# --- documents ------------------------------------------------------------------------------------


def config(data: bytes) -> None:
    """config.json, by the verbs that act on it and by `validate`: one verdict."""
    bundle = file("bundle/config.json", data).parent
    verdict = examine_bundle(os.fspath(bundle))
    assert all(str(one).isprintable() for one in verdict.problems + verdict.warnings)
    refusal = None
    try:
        load_config(os.fspath(bundle), need_process=False)
    except SpecError as error:
        refusal = error
    # validate keeps to the schema, and so reports what only runc's reader takes (spec/lenient.py).
    assert verdict.problems or not refusal


def process(data: bytes) -> None:
    """process.json of exec."""
    document = check_process(parse(data, "process.json"))
    container = json.loads((DOCUMENTS / "everything.json").read_bytes())
    config_with(container, document)


def resources(data: bytes) -> None:
    """The document of update, and what is made of it."""
    document = check_resources(parse(data, "resources"))
    now: Any = {"memory": {"limit": 1, "swap": 2}, "hugepageLimits": [{"pageSize": "2MB"}]}
    given = given_part(document)
    merged = with_given(now, given)
    to_restore(to_write(given, merged), now)


def seccomp(data: bytes) -> None:
    """linux.seccomp, compiled by libseccomp."""
    profile = parse(data, "profile")
    document: Any = {
        "ociVersion": "1.0.2",
        "root": {"path": "/"},
        "linux": {"namespaces": [{"type": "mount"}], "seccomp": profile},
    }
    if checks.check_config(document) and not check_rules(document):
        prepare_filter(document["linux"]["seccomp"], os.fspath(folder()))


def state(data: bytes) -> None:
    """state.json, as `list` reads it."""
    path = file(f"state/web/{STATE_FILE}", data)
    for private in (path.parent, path.parent.parent):
        private.chmod(0o700)
    list_states(Store(os.fspath(path.parent.parent)))


def kept_config(data: bytes) -> None:
    """The configuration in the container's folder, as exec and delete read it."""
    path = file(f"state/web/{CONFIG_FILE}", data)
    root = path.parent.parent
    for private in (path.parent, root):
        private.chmod(0o700)
    directory = Folder(os.open(root, os.O_RDONLY | os.O_DIRECTORY), os.fspath(root), "web")
    try:
        kept = read_config(directory)
    finally:
        directory.close()
    if process := kept.get("process"):
        config_with(kept, process)
    for hook in kept.get("hooks", {}).get("poststop", []):
        assert isinstance(hook["path"], str)


def descriptors(data: bytes) -> None:
    """descriptors.json beside the images of a checkpoint."""
    images = file(f"images/{stdio.FILE}", data).parent
    fd = os.open(images, os.O_RDONLY | os.O_DIRECTORY)
    try:
        stdio.pipes_among(stdio.load_names(fd))
    finally:
        os.close(fd)


# --- texts ----------------------------------------------------------------------------------------


def passwd(data: bytes) -> None:
    """/etc/passwd of an image."""
    root = file("root/etc/passwd", data).parents[1]
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        home = home_of(fd, 1000)
    finally:
        os.close(fd)
    assert home, "an empty HOME"
    assert b"\0" not in home, "execve takes no NUL"


def mountinfo(data: bytes) -> None:
    """The mount table, as everything that looks for cgroups, resctrl and procfs reads it."""
    text, _, own = os.fsdecode(data).partition("\0")
    table = Table(text, own)
    v1_paths(table, "/a/b", "web")
    own_hierarchies(table)
    hierarchies_of(table, {"memory": "/a", "": "/b"})
    with contextlib.suppress(FileNotFoundError):  # no such hierarchy
        v2_path(table, "", "web")
    pivot.full_views(kernel_mountinfo.parse_mountinfo(text), 7)


CGROUP_FILES = (
    "cpu.stat", "cpu.pressure", "memory.stat", "memory.current", "memory.max", "memory.events",
    "memory.swap.current", "memory.swap.max", "memory.pressure", "pids.current", "pids.max",
    "pids.events", "io.stat", "io.pressure", "rdma.current", "rdma.max", "misc.current",
    "misc.max", "misc.events", "hugetlb.2MB.current", "hugetlb.2MB.max", "hugetlb.2MB.events",
    "hugetlb.2MB.usage_in_bytes", "hugetlb.2MB.failcnt", "hugetlb.2MB.max_usage_in_bytes",
    "cpuacct.usage", "cpuacct.usage_percpu", "cpuacct.stat", "cpuacct.usage_all",
    "cpuset.cpus", "cpuset.mems", "cpuset.sched_relax_domain_level", "cpuset.cpu_exclusive",
    "memory.usage_in_bytes", "memory.limit_in_bytes", "memory.failcnt", "memory.oom_control",
    "memory.numa_stat", "memory.use_hierarchy", "memory.max_usage_in_bytes",
    "blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced_recursive",
    "blkio.bfq.io_service_bytes_recursive", "blkio.bfq.sectors_recursive",
)  # fmt: skip


def cgroup_files(data: bytes) -> None:
    """Every file of a cgroup that statistics and the OOM check read."""
    place = folder() / "cgroup"
    for name in CGROUP_FILES:
        (place / name).write_bytes(data)
    directory = os.fspath(place)
    stat.stat({"": directory})
    names = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb", "rdma", "misc")
    stat.stat(dict.fromkeys(names, directory))
    read_counter(directory, "memory.events", "oom_kill")


def listen_fds(data: bytes) -> None:
    """LISTEN_FDS and LISTEN_FDNAMES of the caller, as create and exec take them."""
    count, _, names = data.replace(b"\0", b"").partition(b"\n")
    os.environ.update(
        LISTEN_PID=str(os.getpid()),
        LISTEN_FDS=os.fsdecode(count),
        LISTEN_FDNAMES=os.fsdecode(names),
    )
    try:
        found = request.count_listen_fds()
        assert 0 <= found < 100_000
        given = request.names_of_listen_fds(found)
        assert not given or len(given.split(":")) == found
        request.find_kept_fds(found, 0, library=True)
    finally:
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            del os.environ[name]


def annotation(data: bytes) -> None:
    """A property of the container's unit, as an annotation has it."""
    name, _, text = os.fsdecode(data).partition("=")
    annotated_properties({PREFIX + name: text})


# --- messages -------------------------------------------------------------------------------------


def channel(data: bytes) -> None:
    """What init may send to its parent."""
    ours, theirs = socket.socketpair()
    with theirs:
        end = Channel(ours.detach())
        try:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(data) * 2)
            theirs.send(data)
            theirs.shutdown(socket.SHUT_WR)
            while True:
                _, _, fds = end.receive("procReady", "procGate")
                for fd in fds:
                    os.close(fd)
        except PeerGone:
            return
        finally:
            end.close()


def criu_response(data: bytes) -> None:
    """A message of CRIU's."""
    try:
        messages.parse("Response", data)
    except ValueError:  # what service.py makes a SetupError of
        return


def criu_log(data: bytes) -> None:
    """CRIU's log, with names of the container's in it."""
    images = file("images/dump.log", data).parent
    fd = os.open(images, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for line in log.error_lines(fd, "dump.log"):
            assert line.isprintable()
    finally:
        os.close(fd)
