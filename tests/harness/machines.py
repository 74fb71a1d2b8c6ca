"""Containers of the vm engine."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from harness.box import Container
from harness.runtime import Result, wait_until

BOOT_S = 300.0  # a machine is emulated, and others work beside it
WAIT_S = 60.0
VM = ("--engine", "vm")


def by_vm(container: Container, verb: str, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
    words = (*VM, verb, "--bundle", container.bundle.path, *flags, container.id)
    keys.setdefault("timeout", BOOT_S)
    container._first = container.runtime.call(*words, bundle=container.bundle, **keys)
    return container._first


def wait_output(container: Container, text: str) -> None:
    wait_until(lambda: text in container.output, f"{text!r} in the output", WAIT_S)


def qemu() -> str:
    found = subprocess.run(
        ["sh", "-c", "command -v qemu-system-x86_64"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()
