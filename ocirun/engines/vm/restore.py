"""Restore a machine from a saved state, and make it differ from all that were before.

What does not work is discarded: the machine boots then, and makes another state.

Source: docs/vm.md#saved-states.
"""

from __future__ import annotations

import os
import select
import time

from ocirun.engines.vm import frames
from ocirun.engines.vm.console import Console
from ocirun.engines.vm.machine import Machine
from ocirun.engines.vm.saved import load
from ocirun.errors import OcirunError, SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ocirun.engines.vm.qemu import Hardware
    from ocirun.engines.vm.saved import SavedState

SEEDED_S: Final = 30.0
READ_BYTES: Final = 64


def restore(
    hardware: Hardware,
    share: str,
    taps: Sequence[tuple[int, str]],
    state: SavedState,
    notes: list[str],
) -> Machine | None:
    """Return a machine whose guest is seeded and waits for its root; None if it has to boot.

    `notes` gets a line about what was found.
    """
    try:
        fd = state.open()
    except SetupError as error:
        notes.append(f"not restored: {error}")
        _discard(state, notes)
        return None
    if fd < 0:
        notes.append(f"not restored: there is no {state.path} yet")
        return None
    machine = None
    try:
        machine = Machine(hardware, share, taps, fd)
        machine.qmp.greet()
        load(machine.qmp, fd, machine.memory)
        machine.plug_devices()
        machine.qmp.command("cont")
        _seed(machine)
    except OcirunError as error:
        said = f": {Console(machine.console).why(machine)}" if machine else ""
        notes.append(f"not restored from {state.path}: {error}{said}")
        if machine:
            machine.stop()
        _discard(state, notes)
        return None
    finally:
        os.close(fd)
    notes.append(f"restored from {state.path}")
    return machine


def _discard(state: SavedState, notes: list[str]) -> None:
    try:
        state.discard()
    except SetupError as error:
        notes.append(str(error))


def _seed(machine: Machine) -> None:
    """Send the guest randomness and the time, and wait until it has taken them."""
    # Kernel: a new socket has room for this.
    os.write(machine.agent, frames.seed())
    reader = frames.Reader({frames.SEEDED: frames.FROM_GUEST[frames.SEEDED]})
    poll = select.poll()
    poll.register(machine.agent, select.POLLIN)
    deadline = time.monotonic() + SEEDED_S
    while poll.poll(max(0, deadline - time.monotonic()) * 1000):
        data = os.read(machine.agent, READ_BYTES)
        if not data:
            break
        if [*reader.feed(data)]:
            return
    raise SetupError("the guest does not answer")
