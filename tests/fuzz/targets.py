"""The readers of foreign bytes, each as a function of bytes.

A target returns or raises an OcirunError, within a second, and leaves no descriptor open; whatever
else happens is a bug. What is found is kept in corpus/NAME/, and read first ever after.

    tests/fuzz/corpus/config/bb1f…     one input; seeds of the format have a name people can read
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from fuzz import readers
from fuzz.readers import DOCUMENTS
from ocirun.criu import messages
from ocirun.engines.vm import frames
from ocirun.errors import OcirunError
from ocirun.network.attachment import Attachment

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
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
        refusal = None
        try:
            self.read(data)
        except OcirunError as error:
            refusal = error
        assert refusal is None or str(refusal), "an error without a sentence"
        took = time.process_time() - started
        assert took < SECONDS, f"{took:.1f} s for {len(data)} bytes"
        assert os.listdir("/proc/self/fd") == open_before, "a descriptor was left open"


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

NETWORKS_WANTED = [
    {"type": "loopback", "dns": {"nameservers": ["192.0.2.1"], "search": ["a.b"]},
     "hosts": [{"address": "fd09::7", "names": ["db"]}]},
    {"type": "veth", "name": "eth0", "bridge": "br0", "addresses": ["10.0.0.2/24"],
     "gateways": ["10.0.0.1"], "mtu": 1400, "masquerade": True},
    {"type": "macvlan", "name": "eth1", "parent": "eth0", "mode": "bridge", "pools": ["fd09::/64"]},
]  # fmt: skip
LXC_CONFIG = """\
# a comment
lxc.uts.name = web
lxc.rootfs.path = dir:/srv/web
lxc.init.cmd = /bin/sh -c "echo it"
lxc.environment = A=b
lxc.idmap = u 0 100000 65536
lxc.mount.entry = tmpfs tmp tmpfs rw,nosuid,create=dir 0 0
lxc.cap.drop = sys_admin mac_admin
lxc.cgroup2.memory.max = 64M
lxc.cgroup.devices.allow = c 1:3 rwm
lxc.prlimit.nofile = 1024:2048
lxc.namespace.clone = net pid
"""
CONTAINER = {
    "hostname": "web", "user": "1000:1000", "working_dir": "/", "environment": ["A=b"], "tty": True,
    "namespaces": {"NEWNS": True, "NEWNET": True}, "capabilities": ["CHOWN", "KILL"],
    "networks": [{"type": "veth", "bridge": "docker0", "address": "10.0.0.2/16", "mtu": 1500}],
    "routes": [{"destination": "0.0.0.0/0"}],
    "cgroups": {"name": "web", "parent": "docker", "memory": 1048576, "cpu_shares": 512,
                "allowed_devices": [{"type": 99, "major_number": 1, "minor_number": 3,
                                     "cgroup_permissions": "rwm"}]},
    "context": {"apparmor_profile": "docker-default", "process_label": "x"},
    "mount_config": {"mounts": [{"type": "bind", "source": "/a", "destination": "/b",
                                 "writable": True, "private": True}], "no_pivot_root": False},
}  # fmt: skip


def _records() -> list[bytes]:
    """Return a networks.json as it is written."""
    attachment = Attachment()
    attachment.type, attachment.name, attachment.bridge = "veth", "eth0", "br0"
    attachment.addresses = [ip_interface("10.0.0.2/24"), ip_interface("fd09::2/64")]
    attachment.gateways = [ip_address("10.0.0.1")]
    attachment.sysctls = {"net.ipv4.ip_forward": "0"}
    return [json.dumps([attachment.body()]).encode()]


def _elf_head() -> bytes:
    """Return the head of a program that names its interpreter."""
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    head[18], head[32], head[56] = 0x3E, 64, 1
    row = bytearray(56)
    row[0], row[8] = 3, 120
    return bytes(head + row) + b"/lib64/ld-linux.so.2\0"


def _answers() -> list[bytes]:
    """Return answers of netlink: a device with its addresses, an end, a refusal with words."""
    link = ifinfmsg()
    link["index"] = 7
    link["attrs"] = [
        ("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", "02:00:00:00:00:01"), ("IFLA_MASTER", 3),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth")]}),
    ]  # fmt: skip
    address = ifaddrmsg()
    address["index"], address["prefixlen"], address["family"] = 7, 24, 2
    address["attrs"] = [("IFA_ADDRESS", "10.0.0.2"), ("IFA_LOCAL", "10.0.0.2")]
    found = b""
    for message in (link, address):
        message["header"]["type"] = 16
        message["header"]["sequence_number"] = 1
        message.encode()
        found += message.data
    end = struct.pack("=IHHII", 16, 3, 0, 1, 0)
    words = struct.pack("=HH", 12, 1) + b"no such\0"
    refusal = struct.pack("=IHHIIi", 16 + 20 + len(words), 2, 0x300, 1, 0, -19) + bytes(16) + words
    return [found + end, refusal, end]


TARGETS = {
    target.name: target
    for target in (
        Target("config", readers.config, _documents(), _schema_words(), is_json=True),
        Target("process", readers.process, _documents("process"), _schema_words(), is_json=True),
        Target(
            "resources",
            readers.resources,
            _documents("linux", "resources"),
            _schema_words(),
            is_json=True,
        ),
        Target(
            "seccomp",
            readers.seccomp,
            _documents("linux", "seccomp"),
            _schema_words(),
            is_json=True,
        ),
        Target("state", readers.state, _texts(json.dumps(STATE)), is_json=True),
        Target("kept-config", readers.kept_config, _documents(), _schema_words(), is_json=True),
        Target(
            "descriptors",
            readers.descriptors,
            _texts('["/dev/null","pipe:[1]","pipe:[1]"]'),
            is_json=True,
        ),
        Target(
            "passwd",
            readers.passwd,
            _texts("root:x:0:0:root:/root:/bin/sh\nu:x:1000:1000::/h:/bin/sh\n"),
        ),
        Target(
            "mountinfo",
            readers.mountinfo,
            _texts(MOUNTS),
            (b" - cgroup ", b" - cgroup2 ", b" - proc "),
        ),
        Target("cgroup-files", readers.cgroup_files, _texts(COUNTERS, "max\n", "17\n", "")),
        Target("listen-fds", readers.listen_fds, _texts("1\nhttp", "2\na:b", "0\n", "99999\n")),
        Target(
            "annotation",
            readers.annotation,
            _texts("TimeoutStopSec=2.5", "After=['a', \"b\"]", "Nice=int32 -5", "Delegate=@as []"),
            (b"uint64 ", b"byte ", b"@as ", b"true", b"'", b'"', b"\\u00e9", b"0x1f"),
        ),
        Target(
            "channel",
            readers.channel,
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
            readers.criu_response,
            lambda: [
                messages.message("Response", type=1, success=True).SerializeToString(),
                messages.message(
                    "Response", type=6, notify={"script": "pre-dump", "pid": 7}
                ).SerializeToString(),
            ],
        ),
        Target(
            "networks",
            readers.networks,
            _texts(json.dumps(NETWORKS_WANTED)),
            _schema_words(),
            is_json=True,
        ),
        Target("networks-record", readers.networks_record, _records, is_json=True),
        Target("init-link", readers.init_link, _texts(json.dumps(STATE)), is_json=True),
        Target(
            "exit-file",
            readers.exit_file,
            _texts('{"pid":7,"start":1,"returncode":0}'),
            is_json=True,
        ),
        Target("lxc", readers.lxc, _texts(LXC_CONFIG), (b"lxc.", b" = ", b"\n", b"0:5-7")),
        Target(
            "container-json", readers.container_json, _texts(json.dumps(CONTAINER)), is_json=True
        ),
        Target(
            "program-head",
            readers.program_head,
            lambda: [b"#!/no/such -x\n", _elf_head()],
            (b"#!", b"\x7fELF\x02", b"\x03\0\0\0"),
        ),
        Target("notification", readers.notification, _texts("READY=1\nSTATUS=up\n", "MAINPID=1")),
        Target("netlink", readers.netlink, _answers, (b"\xff\xff\xff\xff", b"\x10\0\0\0")),
        Target(
            "vm-frames",
            readers.vm_frames,
            lambda: [
                frames.frame(frames.HELLO, 0, b"1") + frames.frame(frames.STDOUT, 1, b"out"),
                frames.frame(frames.EXIT, 0, frames.u32(3)) + frames.frame(frames.FAILED, 1, b"no"),
            ],
            (b"T\0\0\1\0\0\0\0", b"A\0\0\0\0\0\0\x04", b"\xff\xff\xff\xff"),
        ),
        Target(
            "qmp",
            readers.qmp,
            _texts(
                '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}}}}\n'
                '{"return": {}}\n',
                '{"event": "SHUTDOWN", "data": {"reason": "guest-reset"}}\n',
            ),
            (b'{"event": "SHUTDOWN"', b'"data": ', b'{"error": ', b"\n"),
        ),
        Target("criu-log", readers.criu_log, _texts("(00.1) 1: Error (x.c:1): no\n(00.2) end\n")),
    )
}
