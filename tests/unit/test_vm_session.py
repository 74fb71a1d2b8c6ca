"""A process of a machine whose output nobody reads (any more)."""

from __future__ import annotations

import os
import select

from ocirun.engines.vm import frames
from ocirun.engines.vm.session import Session


def test_output_that_nobody_reads_is_swallowed() -> None:
    sent: list[bytes] = []
    null = os.open(os.devnull, os.O_RDWR)
    reading, writing = os.pipe()
    session = Session(0, [null, writing, os.dup(null)], sent.append)
    session.take(frames.STARTED, b"")
    session.take(frames.STDOUT, b"up\n")
    os.close(reading)
    session.ready(writing, select.POLLOUT | select.POLLERR)
    assert sent == [frames.frame(frames.ACK, 0, frames.u32(1) + frames.u32(3))]
    session.take(frames.STDOUT, b"more\n")
    assert sent[1:] == [frames.frame(frames.ACK, 0, frames.u32(1) + frames.u32(5))]
    session.take(frames.EXIT, frames.u32(9))
    assert session.is_over()
    session.close()
