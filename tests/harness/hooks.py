"""Hooks of a bundle that leave word of what they saw."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from harness.box import Box, Container
from harness.bundle import Bundle


class Hooks:
    """Hooks of one bundle: each writes what it sees to a file."""

    def __init__(self, box: Box, *args: str, **process: Any) -> None:  # noqa: ANN401
        self.bundle: Bundle = box.bundle(*(args or ("true",)), **process)
        self._probe = os.fspath(self.bundle.rootfs / "probe")
        self._hooks: dict[str, list[dict[str, Any]]] = {}
        self.bundle.config["hooks"] = self._hooks

    def record(self, moment: str, *, status: int = 0, **keys: Any) -> None:  # noqa: ANN401
        """Add a hook that records what it sees and exits with `status`."""
        place = self._place(moment)
        inside = moment == "startContainer"
        shown = f"/{place.relative_to(self.bundle.rootfs)}" if inside else str(place)
        hook = {"path": "/probe" if inside else self._probe}
        hook |= {"args": ["hook-name", "record", shown, str(status)]} | keys
        self._hooks.setdefault(moment, []).append(hook)

    def shell(self, moment: str, script: str, **keys: Any) -> None:  # noqa: ANN401
        """Add a hook that runs a shell script."""
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script]} | keys
        self._hooks.setdefault(moment, []).append(hook)

    def seen(self, moment: str) -> dict[str, Any]:
        """What the hook of this moment saw; its parsed standard input under `state`."""
        report: dict[str, Any] = json.loads(self._place(moment).read_text())
        report["state"] = json.loads(report["stdin"])
        return report

    def ran(self, moment: str) -> bool:
        return self._place(moment).exists()

    def _place(self, moment: str) -> Path:
        return self.bundle.rootfs / "tmp" / moment


def lived(box: Box, hooks: Hooks, **keys: Any) -> Container:  # noqa: ANN401
    """Let a container live its whole life; the verbs get `keys`."""
    container = box.container(hooks.bundle)
    container.create(**keys).ok()
    container.start(**keys).ok()
    container.wait_status("stopped")
    container.delete(**keys).ok()
    return container
