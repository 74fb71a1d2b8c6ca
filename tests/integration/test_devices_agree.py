"""config-linux.md#allowed-device-list: the list read aloud, and what two real kernels' worth of
cgroups make of it, say the same of every device.

A process in a v1 devices cgroup, and one in a v2 cgroup with the generated program, ask the kernel:
access(2) for reading and writing, mknod(2). The cgroups stay from example to example, so that
every state is reached from every other, as `update` of another runtime might leave it.

Kernel: BPF_PROG_TEST_RUN knows no device programs (ENOTSUPP, Linux 6.18), so they are asked in use.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import bars
from harness.cgroups import V2_MOUNT, on_v2_tree
from harness.devicerules import QUESTIONS, RULES, last_match_wins, permits
from harness.machine import MARK, cgroup_hierarchies, own_cgroup
from harness.needs import needs
from hypothesis import HealthCheck, given, settings

from ocirun.cgroups.devicerules import verdicts_of
from ocirun.cgroups.v1 import devices as v1_devices
from ocirun.cgroups.v2 import devices as v2_devices
from ocirun.errors import SetupError

KINDS = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}
MODES = {"r": os.R_OK, "w": os.W_OK, "rw": os.R_OK | os.W_OK}
DEVICES = sorted({question[:3] for question in QUESTIONS})

pytestmark = [needs("root", "CAP_MKNOD")]
tries = settings(
    max_examples=bars.count(60, 2000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Asker:
    """A process in the cgroup `directory`, which tries every device there when it is asked to."""

    def __init__(self, directory: str, folder: Path) -> None:
        self.directory = directory
        self._folder = folder
        for kind, major, minor in DEVICES:
            os.mknod(self._node(kind, major, minor), 0o666 | KINDS[kind], os.makedev(major, minor))
        ask, self._ask = os.pipe()
        self._told, tell = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._ask)
                while os.read(ask, 1) == b"?":
                    os.write(tell, json.dumps(self._tries()).encode() + b"\n")
            finally:
                os._exit(0)
        os.close(ask)
        os.close(tell)
        Path(directory, "cgroup.procs").write_text(str(self._pid))

    def _node(self, kind: str, major: int, minor: int) -> str:
        return f"{self._folder}/{kind}{major}-{minor}"

    def _tries(self) -> list[list[Any]]:
        found = []
        for kind, major, minor in DEVICES:
            node = self._node(kind, major, minor)
            allowed = [word for word, mode in MODES.items() if os.access(node, mode)]
            try:
                os.mknod(f"{node}-new", KINDS[kind], os.makedev(major, minor))
                os.unlink(f"{node}-new")
                allowed.append("m")
            except PermissionError:
                pass
            found.append([kind, major, minor, allowed])
        return found

    def allowed(self) -> dict[tuple[str, int, int], set[str]]:
        """What may be done with each device: of "r", "w", "rw", "m"."""
        os.write(self._ask, b"?")
        data = b""
        while not data.endswith(b"\n"):
            data += (more := os.read(self._told, 65536))
            assert more, "who was asked is gone"
        return {(kind, major, minor): set(words) for kind, major, minor, words in json.loads(data)}

    def close(self) -> None:
        os.close(self._ask)
        os.close(self._told)
        os.waitpid(self._pid, 0)
        os.rmdir(self.directory)


@pytest.fixture
def ask_in(tmp_path: Path) -> Iterator[Callable[[str], Asker]]:
    """Make a cgroup, and a process in it that can be asked."""
    made: list[Asker] = []

    def make(top: str) -> Asker:
        directory = f"{top}/{MARK}-devices"
        os.mkdir(directory)
        made.append(Asker(directory, tmp_path))
        return made[-1]

    yield make
    for asker in made:
        asker.close()


def wanted(rules: list[dict[str, Any]]) -> dict[tuple[str, int, int], set[str]]:
    """Read the specification aloud."""
    return {
        device: {
            word
            for word in ("r", "w", "rw", "m")
            if all(last_match_wins(rules, (*device, letter)) for letter in word)
        }
        for device in DEVICES
    }


@needs("cgroup devices")
def test_the_v1_devices_cgroup_decides_as_the_rules_do(ask_in: Callable[[str], Asker]) -> None:
    asker = ask_in(f"{cgroup_hierarchies()['devices']}{own_cgroup('devices').rstrip('/')}")

    @tries
    @given(RULES)
    def agrees(rules: list[dict[str, Any]]) -> None:
        before = asker.allowed()
        try:
            verdicts = verdicts_of(rules)
        except SetupError:
            with pytest.raises(SetupError, match="cannot punch a hole"):
                v1_devices.apply(asker.directory, {"devices": rules})
            assert asker.allowed() == before
            return
        v1_devices.apply(asker.directory, {"devices": rules})
        assert asker.allowed() == wanted(rules)
        for device in DEVICES:
            for letter in "rwm":
                assert (letter in wanted(rules)[device]) == permits(verdicts, (*device, letter))

    agrees()


@on_v2_tree
def test_the_v2_device_program_decides_as_the_rules_do(ask_in: Callable[[str], Asker]) -> None:
    assert V2_MOUNT is not None
    asker = ask_in(V2_MOUNT.point)

    @tries
    @given(RULES)
    def agrees(rules: list[dict[str, Any]]) -> None:
        v2_devices.apply(asker.directory, {"devices": rules})
        assert asker.allowed() == wanted(rules)

    agrees()


@needs("cgroup devices")
def test_v1_forgets_denials_it_cannot_see(ask_in: Callable[[str], Asker]) -> None:
    """Kernel: a cgroup that allows the rest shows `a *:* rwm`, whatever it denies."""
    asker = ask_in(f"{cgroup_hierarchies()['devices']}{own_cgroup('devices').rstrip('/')}")
    all_of_it = {"allow": True, "access": "rwm"}
    denial = {"allow": False, "type": "c", "major": 1, "minor": 2, "access": "w"}
    v1_devices.apply(asker.directory, {"devices": [all_of_it, denial]})
    assert asker.allowed()["c", 1, 2] == {"r", "m"}
    v1_devices.apply(asker.directory, {"devices": [all_of_it]})
    assert asker.allowed()["c", 1, 2] == {"r", "w", "rw", "m"}
