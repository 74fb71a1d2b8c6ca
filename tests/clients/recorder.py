"""What a client really asked of its runtime: calls written down by recorder.sh."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """One call of the runtime."""

    argv: list[str]
    parent: str
    cwd: str
    fds: dict[int, str]
    env: dict[str, str]


class Recorder:
    """Stands in for a runtime; `path` is given to the client."""

    def __init__(self, folder: Path, name: str, runtime: str) -> None:
        self.path = folder / name
        self._log = folder / f"{name}.calls"
        script = (Path(__file__).parent / "recorder.sh").read_text()
        script = script.replace("@LOG@", str(self._log)).replace("@RUNTIME@", runtime)
        self.path.write_text(script)
        self.path.chmod(0o755)

    def calls(self) -> list[Call]:
        """Return every call since the beginning, in order of their starts."""
        found: list[Call] = []
        if not self._log.exists():
            return found
        for line in self._log.read_text(errors="replace").splitlines():
            key, _, value = line.partition(" ")
            if key == "call":
                found.append(Call([], "", "", {}, {}))
            elif key == "arg":
                found[-1].argv.append(value)
            elif key in ("parent", "cwd"):
                found[-1] = found[-1]._replace(**{key: value})
            elif key == "fd":
                number, _, target = value.partition(" ")
                found[-1].fds[int(number)] = target
            elif key == "env":
                name, _, text = value.partition("=")
                found[-1].env[name] = text
        return found
