"""`ocirun.execdriver`: one class of tests, and both drivers give the same results.

Source: docs/engines.md#execdriver.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.box import Box
from harness.machine import MARK
from harness.needs import needs
from harness.runtime import wait_until

from ocirun.errors import ContainerNotFound, SetupError, UsageError
from ocirun.execdriver import Command, Driver, Lxc, Pipes, new_driver

pytestmark = needs("ours", "root", "tool lxc-start")

CONTAINER: dict[str, Any] = {
    "hostname": "236cd8e98911",
    "environment": ["PATH=/bin", "A=1"],
    "namespaces": {f"NEW{name}": True for name in ("IPC", "NET", "NS", "PID", "UTS")},
    "capabilities_mask": {"MKNOD": True, "NET_ADMIN": False, "SYS_ADMIN": False, "SYS_TIME": False},
    "networks": [
        {"type": "loopback", "address": "127.0.0.1/0", "gateway": "localhost", "mtu": 1500}
    ],
    "context": {"restrictions": "true"},
    "mounts": [{"type": "devtmpfs"}],
}


@pytest.fixture(params=["native", "lxc"])
def driver(request: pytest.FixtureRequest, box: Box) -> Driver:
    return new_driver(request.param, str(box.folder / "state"))


class Bench:
    """Runs commands of one driver on a root directory with busybox."""

    def __init__(self, driver: Driver, box: Box) -> None:
        self.driver = driver
        self.box = box
        self.rootfs = str(box.bundle().rootfs)
        self.output = box.folder / "output"

    def command(self, *args: str, **changes: Any) -> Command:  # noqa: ANN401
        name = self.box.container().id
        document = {**CONTAINER, "cgroups": {"name": name, "parent": f"{MARK}-docker"}, **changes}
        for kind in ("proc", "sys", "dev"):
            Path(self.rootfs, kind).mkdir(exist_ok=True)
        return Command(name, self.rootfs, args, document)

    def run(self, command: Command, text: str = "", callback: Any = None) -> int:  # noqa: ANN401
        (self.box.folder / "input").write_text(text)
        with (self.box.folder / "input").open("rb") as stdin, self.output.open("wb") as stdout:
            return self.driver.run(command, Pipes(stdin, stdout, stdout), callback)

    def shown(self) -> str:
        return self.output.read_text()


@pytest.fixture
def bench(driver: Driver, box: Box) -> Iterator[Bench]:
    yield Bench(driver, box)
    for path in Path("/sys/fs/cgroup").glob(f"*/{MARK}-docker"):
        path.rmdir()


class TestBothDrivers:
    def test_output_input_and_exit_status(self, bench: Bench) -> None:
        script = (
            "cat; hostname; id -u; echo $A; ls /sys/fs; pwd; grep CapBnd /proc/self/status; "
            "ls /proc/acpi; echo $$; exit 7"
        )
        command = bench.command("sh", "-c", script, working_dir="/tmp", user="3:4")
        assert bench.run(command, "given\n") == 7
        lines = bench.shown().splitlines()
        assert lines[:4] == ["given", "236cd8e98911", "3", "1"]
        assert (lines[-3], lines[-1]) == ("/tmp", "1")
        bounding = int(lines[-2].split()[1], 16)
        assert bounding >> 27 & 1  # MKNOD
        assert not bounding & (1 << 12 | 1 << 21 | 1 << 25)  # NET_ADMIN, SYS_ADMIN, SYS_TIME

    def test_signals_and_pids_and_termination(self, bench: Bench) -> None:
        script = "trap 'echo usr1' USR1; sleep 60 & echo up; while :; do sleep 0.05; done"
        command = bench.command("sh", "-c", script)
        driver, seen = bench.driver, []
        with pytest.raises(ContainerNotFound):
            driver.get_pids_for_container(command.id)
        assert not driver.info(command.id).is_running()

        def started(given: Command) -> None:
            seen.append((given, given.pid))

        status: list[int] = []
        thread = threading.Thread(
            target=lambda: status.append(bench.run(command, callback=started))
        )
        thread.start()
        wait_until(lambda: seen and "up" in bench.shown(), "the program runs")
        assert driver.info(command.id).is_running()
        pids = driver.get_pids_for_container(command.id)
        assert seen == [(command, command.pid)]
        assert command.pid in pids
        assert len(pids) >= 2  # the shell and its children
        driver.kill(command, signal.SIGUSR1)
        wait_until(lambda: "usr1" in bench.shown(), "usr1")
        driver.terminate(command)
        thread.join(20)
        assert status == [128 + signal.SIGKILL]
        assert not driver.info(command.id).is_running()
        with pytest.raises(ContainerNotFound):
            driver.kill(command, signal.SIGTERM)

    def test_a_terminal_is_the_controlling_one(self, bench: Bench) -> None:
        command = bench.command("sh", "-c", "tty; echo x >/dev/tty; exit 3", tty=True)
        assert bench.run(command) == 3
        # LXC's terminal is behind another one, and ends lines twice (docs/engines.md).
        assert bench.shown().split() == ["/dev/pts/0", "x"]

    def test_a_failure_leaves_nothing(self, bench: Bench) -> None:
        called: list[Command] = []
        with pytest.raises(SetupError, match="nosuch"):
            bench.run(bench.command("nosuch"), callback=called.append)
        assert called == []
        left = bench.command("sh", future={"x": 1})
        with pytest.raises(UsageError, match=r"no counterpart for future\.x"):
            bench.run(left)
        with pytest.raises(UsageError, match=r"no container\.json: "):
            bench.run(bench.command("sh", mounts=3))

    def test_it_has_a_name_with_a_version(self, driver: Driver) -> None:
        kind, _, version = driver.name().partition("-")
        assert kind == driver.engine
        assert version[0].isdigit()


def test_the_lxc_driver_shows_its_configuration_in_both_kinds_of_keys(box: Box) -> None:
    driver = new_driver("lxc", str(box.folder))
    assert isinstance(driver, Lxc)
    command = Command("x", "/srv/root", ["sh"], CONTAINER)
    new, _ = driver.configuration(command)
    old, left = driver.configuration(command, old_keys=True)
    assert "lxc.rootfs.path = /srv/root\n" in new
    assert "lxc.rootfs = /srv/root\n" in old
    assert "lxc.utsname = 236cd8e98911\n" in old
    assert "lxc.namespace.clone: no old key" in left
    with pytest.raises(UsageError, match="unknown driver 'vm'"):
        new_driver("vm", os.fspath(box.folder))
