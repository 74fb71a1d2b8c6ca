"""The readers of foreign bytes: each function takes what others wrote, as one text of bytes."""

from __future__ import annotations

import atexit
import contextlib
import errno
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
from ocirun.container.exit_status import kept_exit
from ocirun.container.folder import Folder
from ocirun.container.inherited_process import config_with
from ocirun.container.networks import parse_attachments
from ocirun.container.record import CONFIG_FILE, INIT_LINK, STATE_FILE, Record, read_config
from ocirun.container.resources import given_part, to_restore, to_write, with_given
from ocirun.container.sd_notify import is_ready
from ocirun.container.state import list_states
from ocirun.container.store import Store
from ocirun.convert import formats as convert
from ocirun.convert.formats import written
from ocirun.convert.lxc_read import read_lxc
from ocirun.criu import log, messages, stdio
from ocirun.engines.vm.frames import FROM_GUEST, Reader
from ocirun.engines.vm.qmp import Qmp
from ocirun.engines.vm.session import Session
from ocirun.errors import SpecError
from ocirun.kernel import mountinfo as kernel_mountinfo
from ocirun.network.links import addresses_of_all, all_links, delete_link
from ocirun.network.netlink import Netlink
from ocirun.process.channel import Channel, PeerGone
from ocirun.process.environment import home_of
from ocirun.process.program import why_refused
from ocirun.rootfs import pivot
from ocirun.security.seccomp.program import prepare_filter
from ocirun.spec import NETWORKS, checks
from ocirun.spec.jsontext import parse
from ocirun.spec.load import check_process, check_resources, conforms, load_config
from ocirun.spec.networks import read_networks
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
        for name in ("root/etc", "cgroup", "state/web", "bundle/rootfs", "images", "exited/web"):
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


def networks(data: bytes) -> None:
    """The annotation org.ocirun.networks, as whoever writes annotations has it."""
    document: Any = {"annotations": {NETWORKS: os.fsdecode(data)}, "hostname": "web"}
    document["linux"] = {"namespaces": [{"type": "network"}, {"type": "mount"}]}
    read_networks(document)


def networks_record(data: bytes) -> None:
    """networks.json of another container below the state root."""
    parse_attachments(data, "/state/web")


def init_link(data: bytes) -> None:
    """The text of the link that finds a container's processes when its state.json is damaged."""
    text = data.replace(b"\0", b"")[:4000]
    web = folder() / "linked" / "web"
    web.mkdir(mode=0o700, parents=True, exist_ok=True)
    web.parent.chmod(0o700)
    link = web / INIT_LINK
    link.unlink(missing_ok=True)
    if text:
        os.symlink(text, link)
    with Store(os.fspath(web.parent)).open("web") as directory:
        if record := Record.recover(directory):
            record.close()


def exit_file(data: bytes) -> None:
    """The exit status that a library has left beside the record."""
    web = file("exited/web/exit", data).parent
    fields = {
        "id": "web",
        "bundle": "/b",
        "init_process_pid": 7,
        "init_process_start": 1,
        "private_pid": True,
        "oci_version": "1.2.0",
        "created": "2026-01-01T00:00:00Z",
        "cgroup_paths": {},
    }
    file(f"exited/web/{STATE_FILE}", json.dumps(fields).encode())
    for private in (web, web.parent):
        private.chmod(0o700)
    with Store(os.fspath(web.parent)).load("web") as record:
        status = kept_exit(record)
    assert status is None or isinstance(status, int)


def lxc(data: bytes) -> None:
    """A configuration of LXC."""
    config, left = read_lxc(data.decode("utf-8", "surrogateescape"))
    assert all(isinstance(line, str) for line in left)
    if conforms(config, "config"):
        written(config, "oci", cgroup_v2=True, old_keys=False)


def vm_frames(data: bytes) -> None:
    """What the guest of a machine sends, as its monitor takes it."""
    sessions = {number: Session(number, [-1, -1, -1], bytearray().extend) for number in (0, 1)}
    for session in sessions.values():
        session.close()  # every output is answered at once
    for kind, number, payload in Reader(FROM_GUEST).feed(data):
        if number in sessions:
            sessions[number].take(kind, payload)


def qmp(data: bytes) -> None:
    """What QEMU says: greeting, answers, events."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(data[: 64 << 10])
    conversation = Qmp(ours.fileno())
    with ours:
        try:
            conversation.greet()
        finally:
            conversation.read_events()
            conversation.shutdown_reason()


def container_json(data: bytes) -> None:
    """A container.json of libcontainer, from the file to a configuration."""
    path = os.fspath(file("container.json", data))
    config, _ = convert.read(path, "libcontainer", os.fspath(folder()))
    written(config, "libcontainer", cgroup_v2=False, old_keys=False)


def program_head(data: bytes) -> None:
    """The first bytes of an image's program that execve has refused."""
    path = os.fsencode(file("program", data))
    for number in (errno.ENOEXEC, errno.ENOENT, errno.EACCES):
        assert isinstance(why_refused(path, number), str)


def notification(data: bytes) -> None:
    """What a container says to its NOTIFY_SOCKET."""
    assert isinstance(is_ready(data), bool)


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


class Answers:
    """A socket of netlink that has one answer, and then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv(self, size: int) -> bytes:
        data, self._data = self._data[:size], b""
        if not data:
            raise TimeoutError("no answer")
        return data

    def send(self, data: bytes) -> int:
        return len(data)


def netlink(data: bytes) -> None:
    """The kernel's answers, with names that a container's processes have given to devices."""
    for act in (all_links, addresses_of_all, lambda net: delete_link(net, 1)):
        net = object.__new__(Netlink)
        net._socket = Answers(data)  # type: ignore[assignment]  # as much of one as it uses
        net._sequence = 0
        try:
            act(net)
        except OSError:  # what `doing` makes a SetupError of
            continue
