"""The readers of foreign bytes, each as a function of bytes.

A target returns or raises an OcirunError, within a second, and leaves no descriptor open; whatever
else happens is a bug. What is found is kept in corpus/NAME/, and read first ever after.

    tests/fuzz/corpus/config/bb1f…     one input; seeds of the format have a name people can read
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ocirun.cgroups import resctrl, stat
from ocirun.cgroups.files import read_counter
from ocirun.cgroups.paths import Table, hierarchies_of, own_hierarchies, v1_paths, v2_path
from ocirun.cgroups.systemd.annotations import PREFIX, annotated_properties
from ocirun.container import request
from ocirun.container.inherit import config_with
from ocirun.container.record import CONFIG_FILE, STATE_FILE, read_config
from ocirun.container.resources import given_part, to_restore, to_write, with_given
from ocirun.container.state import list_states
from ocirun.container.store import Store
from ocirun.errors import OcirunError, SpecError
from ocirun.process.channel import Channel, PeerGone
from ocirun.process.criu import log, messages, stdio
from ocirun.process.environment import home_of
from ocirun.rootfs import pivot
from ocirun.security.seccomp.program import prepare_filter
from ocirun.spec import checks
from ocirun.spec.jsontext import parse
from ocirun.spec.load import check_process, check_resources, load_config
from ocirun.spec.rules import check_rules
from ocirun.spec.validate import validate_bundle

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
DOCUMENTS = HERE.parent / "unit" / "spec" / "documents"
SECONDS = float(os.environ.get("OCIRUN_PATIENCE", "1"))


class Target:
    """One reader: `read` takes what others wrote; `pieces` are words of its format."""

    def __init__(
        self,
        name: str,
        read: Callable[[bytes], object],
        seeds: Callable[[], list[bytes]],
        pieces: tuple[bytes, ...] = (),
        *,
        is_json: bool = False,
    ) -> None:
        self.name = name
        self.read = read
        self.pieces = pieces
        self.is_json = is_json
        self._seeds = seeds

    def kept(self) -> Iterator[tuple[str, bytes]]:
        """Yield what earlier runs have found, with its file's name."""
        for path in sorted((CORPUS / self.name).glob("*")):
            yield path.name, path.read_bytes()

    def inputs(self) -> list[bytes]:
        """Return the inputs to start from: seeds, and what is kept."""
        return [*self._seeds(), *(data for _, data in self.kept())]

    def keep(self, data: bytes) -> Path:
        """Keep an input that has shown a bug; return its file."""
        path = CORPUS / self.name / hashlib.sha256(data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def check(self, data: bytes) -> None:
        """Read `data`, and hold the reader to what it promises."""
        open_before = os.listdir("/proc/self/fd")
        started = time.process_time()
        try:
            self.read(data)
        except OcirunError as error:
            assert str(error), "an error without a sentence"
        took = time.process_time() - started
        assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"
        assert os.listdir("/proc/self/fd") == open_before, "a descriptor was left open"


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
    problems = validate_bundle(os.fspath(bundle))
    try:
        load_config(os.fspath(bundle), need_process=False)
    except SpecError as error:
        assert problems == error.problems
        assert all(str(problem).isprintable() for problem in problems)
        raise
    assert problems == []


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
    path.chmod(0o600)
    path.parent.chmod(0o700)
    path.parent.parent.chmod(0o700)
    list_states(Store(os.fspath(path.parent.parent)))


def kept_config(data: bytes) -> None:
    """The configuration in the container's folder, as exec and delete read it."""
    path = file(f"state/web/{CONFIG_FILE}", data)
    kept = read_config(os.fspath(path.parent))
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
    try:
        v2_path(table, "", "web")
    except FileNotFoundError:  # no such hierarchy, and said so
        pass
    pivot.full_views(text, 7)
    resctrl.MOUNTINFO = os.fspath(file("mountinfo", os.fsencode(text)))  # type: ignore[misc]
    resctrl.find_resctrl()


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
        LISTEN_PID=str(os.getpid()), LISTEN_FDS=os.fsdecode(count), LISTEN_FDNAMES=os.fsdecode(names)
    )
    try:
        found = request.count_listen_fds()
        assert 0 <= found < 100_000
        given = request.names_of_listen_fds(found)
        assert not given or len(given.split(":")) == found
        request.check_kept_fds(found, found, library=True)
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


# --- the table ------------------------------------------------------------------------------------


def _documents(*path: str) -> Callable[[], list[bytes]]:
    """Return a function: that part of each real configuration which has it."""

    def seeds() -> list[bytes]:
        found = []
        for name in sorted(DOCUMENTS.glob("*.json")):
            value = json.loads(name.read_bytes())
            for step in path:
                value = value.get(step, {})
            if value:
                found.append(json.dumps(value).encode())
        return found

    return seeds


def _texts(*texts: str | bytes) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() if isinstance(text, str) else text for text in texts]


def _schema_words() -> tuple[bytes, ...]:
    """Return the names and words of config.json, in any case."""
    found: set[str] = set()
    todo: list[Any] = [
        json.loads(path.read_bytes()) for path in (HERE.parents[1] / "schemas").rglob("*.json")
    ]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            found.update(value)
            todo += value.values()
        elif isinstance(value, list):
            todo += value
        elif isinstance(value, str):
            found.add(value)
    return tuple(sorted(word.encode() for word in found if len(word) < 40))


def _frame(data: bytes, fds: int = 0) -> bytes:
    return struct.pack("<II", len(data), fds) + data


STATE = {
    "id": "web", "oci_version": "1.2.0", "bundle": "/b", "rootfs": "/b/rootfs", "owner": 0,
    "created": "2026-01-01T00:00:00Z", "init_process_pid": 999999999, "init_process_start": 1,
    "cgroup_paths": {"memory": "/sys/fs/cgroup/none"}, "cgroup_manager": "cgroupfs",
    "annotations": {"a": "b"}, "hooks": ["poststop"], "intel_rdt_made": ["/x"],
    "external_descriptors": ["/dev/null", "pipe:[1]", ""], "no_new_keyring": False,
    "private_pid": True, "systemd_unit": "", "intel_rdt_path": "", "intel_rdt_monitoring": "",
}  # fmt: skip
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:20 / /sys/fs/cgroup ro - tmpfs none ro
24 23 0:21 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
25 23 0:22 /a\\040b /sys/fs/cgroup/unified rw - cgroup2 none rw
26 22 0:23 / /proc rw - proc proc rw
27 22 0:24 / /sys/fs/resctrl rw - resctrl resctrl rw
\0002:memory:/user
1:name=systemd:/
0::/user.slice
"""
COUNTERS = """\
cache 4096
rss max
Total=1 N0=2
8:0 rbytes=1 wbytes=2 rios=3
8:0 Read 17
some avg10=0.00 avg60=1.25 avg300=0.00 total=12
oom_kill 3
mlx4_0 hca_handle=2 hca_object=max
0-3,7
"""

TARGETS = {
    target.name: target
    for target in (
        Target("config", config, _documents(), _schema_words(), is_json=True),
        Target("process", process, _documents("process"), _schema_words(), is_json=True),
        Target(
            "resources", resources, _documents("linux", "resources"), _schema_words(), is_json=True
        ),
        Target("seccomp", seccomp, _documents("linux", "seccomp"), _schema_words(), is_json=True),
        Target("state", state, _texts(json.dumps(STATE)), is_json=True),
        Target("kept-config", kept_config, _documents(), _schema_words(), is_json=True),
        Target(
            "descriptors", descriptors, _texts('["/dev/null","pipe:[1]","pipe:[1]"]'), is_json=True
        ),
        Target(
            "passwd", passwd, _texts("root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/h:/bin/sh\n")
        ),
        Target(
            "mountinfo", mountinfo, _texts(MOUNTS), (b" - cgroup ", b" - cgroup2 ", b" - proc ")
        ),
        Target("cgroup-files", cgroup_files, _texts(COUNTERS, "max\n", "17\n", "")),
        Target("listen-fds", listen_fds, _texts("1\nhttp", "2\na:b", "0\n", "99999\n")),
        Target(
            "annotation",
            annotation,
            _texts("TimeoutStopSec=2.5", "After=['a', \"b\"]", "Nice=int32 -5", "Delegate=@as []"),
            (b"uint64 ", b"byte ", b"@as ", b"true", b"'", b'"', b"\\u00e9", b"0x1f"),
        ),
        Target(
            "channel",
            channel,
            _texts(
                _frame(b'["procReady",null]'),
                _frame(b'["procError",{"message":"no","errno":1,"notes":["a"]}]'),
                _frame(b'["procGate",1]') * 2,
                _frame(b'["procGate",1]', 1),
            ),
            (b'["procError",', b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\0\0\0\x04"),
        ),
        Target(
            "criu-response",
            criu_response,
            lambda: [
                messages.message("Response", type=1, success=True).SerializeToString(),
                messages.message(
                    "Response", type=6, notify={"script": "pre-dump", "pid": 7}
                ).SerializeToString(),
            ],
        ),
        Target("criu-log", criu_log, _texts("(00.1) 1: Error (x.c:1): no\n(00.2) end\n")),
    )
}
