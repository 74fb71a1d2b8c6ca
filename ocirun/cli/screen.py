"""The live table of `ocirun top`: a terminal taken over, and given back whatever happens.

Beside `ocirun doctor` the only one that loads rich. Everything shown is a number, one of our own
words, or a container's id, which is a plain name by the rules of `ocirun.container.store`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time

from rich.console import Console, ConsoleDimensions
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ocirun.cli.figures import UNKNOWN, count, format_size, graph, rate, share
from ocirun.container.usage import RESOURCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType, TracebackType
    from typing import Any, Final

    from ocirun.container.usage import Monitor, Usage

STDIN, STDOUT = 0, 1
NS_PER_MS: Final = 1_000_000
LONGEST_WAIT_MS: Final = 2**31 - 1  # what poll(2) takes
QUIT: Final = b"qQ\x03\x04"
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LFLAG, CC = 3, 6  # places in what tcgetattr gives
# Columns of the table, and how wide a terminal must be to show them.
COLUMNS: Final = {
    "CONTAINER": 0,
    "STATUS": 40,
    "CPU": 0,
    "cpu graph": 100,
    "MEMORY": 30,
    "memory graph": 100,
    "LIMIT": 50,
    "PIDS": 60,
    "READ": 75,
    "WRITE": 75,
    "WAIT C/M/I": 80,  # shares of time in which processes waited for cpu, memory, io
}
GRAPHS: Final = ("cpu graph", "memory graph")
WIDE: Final = 140  # from here on graphs are twice as long
HEADINGS: Final = 3  # lines that are no container, and the last one, which stays empty


class Screen:
    """The terminal while the table is on it.

    Leaving the `with` block restores modes, cursor, contents and signal handlers.
    """

    __slots__ = ("_handlers", "_live", "_modes", "_wake", "console", "ended_by")

    def __init__(self) -> None:
        if sys.stdout is not None:  # bars are not in every locale's letters
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        self.console = Console()
        self.ended_by = 0
        self._wake = (-1, -1)
        self._modes: list[Any] | None = None
        self._handlers: dict[int, Any] = {}
        self._live = Live(console=self.console, screen=True, auto_refresh=False)

    def __enter__(self) -> Screen:
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in (*ENDING, signal.SIGWINCH):
            self._handlers[number] = signal.signal(number, self._note)
        try:
            if os.isatty(STDIN):
                self._modes = termios.tcgetattr(STDIN)
                self._take_keys(self._modes)
            self._live.start()
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._live.stop()
        finally:
            self._restore()

    def _take_keys(self, modes: list[Any]) -> None:
        """Read each key as it is pressed, unseen. A stop (^Z) would leave our screen behind."""
        changed = [*modes]
        changed[LFLAG] &= ~(termios.ICANON | termios.ECHO)
        changed[CC] = [*modes[CC]]
        changed[CC][termios.VSUSP] = b"\0"
        termios.tcsetattr(STDIN, termios.TCSADRAIN, changed)

    def _restore(self) -> None:
        try:
            if self._modes is not None:
                termios.tcsetattr(STDIN, termios.TCSADRAIN, self._modes)
        except termios.error:
            self.ended_by = self.ended_by or signal.SIGHUP  # the terminal went away
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(-1)
            for fd in self._wake:
                os.close(fd)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Remember the signal that asks us to end; the wakeup pipe ends `wait`."""
        if number != signal.SIGWINCH:
            self.ended_by = number

    def show(self, usages: Sequence[Usage], interval: str) -> None:
        """Draw the table in the size that the terminal has now."""
        try:
            columns, lines = os.get_terminal_size(STDOUT)
        except OSError:  # it went away
            columns, lines = 80, 25
        # A size of 0 is what a terminal without a window has.
        self.console.size = ConsoleDimensions(columns or 80, lines or 25)
        self._live.update(table(usages, columns or 80, lines or 25, interval), refresh=True)

    def wait(self, until_ns: int) -> bool:
        """Wait for a key, a change of size, or `until_ns`; return whether to go on."""
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        if self._modes is not None:
            poll.register(STDIN, select.POLLIN)
        wait_ms = max(0, -(-(until_ns - time.monotonic_ns()) // NS_PER_MS))
        ready = {fd for fd, _ in poll.poll(min(wait_ms, LONGEST_WAIT_MS))}
        if self._wake[0] in ready:
            os.read(self._wake[0], 512)
        if STDIN in ready:
            keys = _read_keys()
            if not keys or any(key in QUIT for key in keys):
                return False
        return not self.ended_by


def _read_keys() -> bytes:
    try:
        return os.read(STDIN, 64)
    except OSError:  # EIO: the terminal went away
        return b""


def follow(monitor: Monitor, interval_ns: int, interval: str) -> int:
    """Show what containers use until a key or a signal ends it; return the exit status.

    `q` and an interrupt are how a person ends it, and no failure.
    """
    with Screen() as screen:
        usages = monitor.look()
        due = time.monotonic_ns() + interval_ns
        screen.show(usages, interval)
        while screen.wait(due):
            now = time.monotonic_ns()
            if now >= due:
                usages = monitor.look()
                due = max(due + interval_ns, now)
            screen.show(usages, interval)
    return 0 if screen.ended_by in (0, signal.SIGINT) else 128 + screen.ended_by


def table(usages: Sequence[Usage], columns: int, lines: int, interval: str) -> Table:
    """Lay out what fits: the busiest first, columns and graphs where there is room for them."""
    busiest = sorted(usages, key=lambda usage: (-(usage.cpu_percent or 0), usage.id))
    room = max(lines - HEADINGS, 1)
    hidden = len(busiest) - room
    grid = Table(
        box=None,
        expand=True,
        pad_edge=False,
        header_style="reverse",
        caption=_caption(len(busiest), max(hidden, 0), interval),
        caption_justify="left",
    )
    bars = 20 if columns >= WIDE else 10
    shown = [title for title, least in COLUMNS.items() if columns >= least]
    for title in shown:
        if title == "CONTAINER":
            grid.add_column(title, no_wrap=True, overflow="ellipsis", ratio=1, min_width=9)
        elif title in GRAPHS:
            grid.add_column("", no_wrap=True, min_width=bars, style="green")
        else:
            grid.add_column(title, no_wrap=True, justify="right")
    for usage in busiest[:room]:
        cells = _cells(usage, bars)
        style = "" if usage.reading else "dim"
        # Security: Text, not markup: brackets in a name are letters.
        grid.add_row(*(Text(cells[title], style=style) for title in shown))
    return grid


def _caption(count: int, hidden: int, interval: str) -> Text:
    more = f", {hidden} more than fit" if hidden else ""
    containers = "1 container" if count == 1 else f"{count} containers"
    message = f"{containers}{more}" if count else "no running containers"
    return Text(f"{message} · every {interval} · q quits", no_wrap=True, overflow="ellipsis")


def _cells(usage: Usage, bars: int) -> dict[str, str]:
    """Return the cells of one container, by the title of the column."""
    return {
        "CONTAINER": usage.id,
        "STATUS": usage.status,
        "CPU": share(usage.cpu_percent),
        "cpu graph": graph(usage.cpu_history, bars, 100),
        "MEMORY": format_size(usage.memory),
        "memory graph": graph(usage.memory_history, bars, usage.memory_limit or 0),
        "LIMIT": format_size(usage.memory_limit),
        "PIDS": count(usage.pids, usage.pids_limit),
        "READ": rate(usage.read_rate),
        "WRITE": rate(usage.write_rate),
        "WAIT C/M/I": waiting(usage),
    }


def waiting(usage: Usage) -> str:
    """Return the shares of time in which some process waited."""
    if usage.waiting is None:
        return UNKNOWN
    return "/".join(f"{usage.waiting.get(name, 0):.0f}" for name in RESOURCES)
