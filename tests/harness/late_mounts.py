"""`mounts add` and `mounts remove`, and what is mounted in a container afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.box import Box, Container
from harness.runtime import Result

Mount = dict[str, Any]


def bind(source: Path | str, destination: str, *options: str) -> Mount:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": ["bind", *options],
    }


def new(kind: str, destination: str, *options: str) -> Mount:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}


def change(act: str, container: Container, *mounts: Mount, **keys: Any) -> Result:  # noqa: ANN401
    """Call the verb with these mounts in a file."""
    file = container.bundle.path / f"mounts{len(container.runtime.calls)}.json"
    file.write_text(json.dumps(mounts))
    return container.runtime.call("mounts", act, container.id, file, **keys)


def add(container: Container, *mounts: Mount, **keys: Any) -> Result:  # noqa: ANN401
    return change("add", container, *mounts, **keys)


def remove(container: Container, *destinations: str) -> Result:
    return change("remove", container, *({"destination": name} for name in destinations))


def lines(container: Container) -> list[list[str]]:
    text = Path(f"/proc/{container.pid}/mountinfo").read_text()
    return [line.split() for line in text.splitlines()]


def mounted(container: Container) -> list[str]:
    """The places where something is mounted, as the container's init sees them."""
    return [line[4] for line in lines(container)]


def options_at(container: Container, place: str) -> set[str]:
    return set([line for line in lines(container) if line[4] == place][-1][5].split(","))


def of_the_host(box: Box) -> list[str]:
    """The host's mounts that have to do with this test, by their source or their place."""
    text = Path("/proc/self/mountinfo").read_text()
    return [line for line in text.splitlines() if str(box.folder) in line]
