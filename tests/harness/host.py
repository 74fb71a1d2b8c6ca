"""A host that lacks whatever a test takes from it."""

from __future__ import annotations

import pytest

from ocirun.doctor import cgroups, namespaces, security, surroundings
from ocirun.kernel.oserror import oserror

MODULES = (cgroups, namespaces, security, surroundings)


class Host:
    """Replaces what the probes ask: files by `files`, calls by `refuse`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: dict[str, str] = {}
        self._monkeypatch = monkeypatch
        for module in MODULES:
            if hasattr(module, "read"):
                monkeypatch.setattr(module, "read", self._read)

    def _read(self, path: str) -> str:
        if path in self.files:
            return self.files[path]
        raise FileNotFoundError(2, "No such file or directory", path)

    def refuse(self, module: object, name: str, errno: int) -> None:
        """Let every call of `name` in `module` fail."""

        def call(*_: object, **__: object) -> object:
            raise oserror(errno, name)

        self._monkeypatch.setattr(module, name, call)

    def answer(self, module: object, name: str, value: object) -> None:
        """Let every call of `name` in `module` give `value`."""
        self._monkeypatch.setattr(module, name, lambda *_, **__: value)

    def be(self, uid: int) -> None:
        """Be this user."""
        self._monkeypatch.setattr("os.geteuid", lambda: uid)
        self._monkeypatch.setattr("os.getuid", lambda: uid)
