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
from pathlib import Path
from typing import Any

from fuzz import readers
from fuzz.readers import DOCUMENTS
from ocirun.criu import messages
from ocirun.errors import OcirunError

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
        Target("criu-log", readers.criu_log, _texts("(00.1) 1: Error (x.c:1): no\n(00.2) end\n")),
    )
}
