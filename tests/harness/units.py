"""Units of systemd as a test looks at them: by systemctl, which is not ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.box import Box
from harness.bundle import Bundle
from harness.machine import MARK
from harness.runtime import wait_until

TOP = Path("/sys/fs/cgroup")


class Units:
    """What one manager says, root's or with `uid` a user's."""

    def __init__(self, uid: int | None = None) -> None:
        self._words = ["systemctl"] if uid is None else ["systemctl", "--user", f"-M{uid}@.host"]

    def call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._words, *words], capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout.strip()

    def show(self, unit: str) -> dict[str, str]:
        """Every property of a unit; DeviceAllow has a line for each device."""
        found: dict[str, str] = {}
        for line in self.call("show", unit).splitlines():
            name, _, value = line.partition("=")
            found[name] = f"{found[name]}\n{value}" if name in found else value
        return found

    def property(self, unit: str, name: str) -> str:
        return self.call("show", "--value", "-p", name, unit)

    def listed(self, pattern: str = f"*{MARK}*.scope") -> list[str]:
        """Every unit that systemd knows, running, failed or on its way out."""
        lines = self.call("list-units", "--all", "--no-legend", "--plain", pattern).splitlines()
        return [line.split()[0] for line in lines if line]

    def directory(self, unit: str) -> Path:
        """The v2 cgroup of a unit that runs."""
        group = self.property(unit, "ControlGroup")
        assert group, f"{unit} has no cgroup"
        return TOP / group.strip("/")

    def wait_until_none(self, pattern: str = f"*{MARK}*.scope") -> None:
        wait_until(lambda: not self.listed(pattern), f"no unit {pattern}", 20)


def unit_of(box: Box) -> str:
    """The scope of the test's bundles."""
    return f"{MARK}-{box.folder.name}.scope"


def scoped(box: Box, *args: str, slice_name: str = "system.slice") -> Bundle:
    """A bundle whose container is the scope that `unit_of` names."""
    bundle = box.bundle(*(args or ("/probe", "wait")))
    bundle.linux["cgroupsPath"] = f"{slice_name}:{MARK}:{box.folder.name}"
    return bundle
