"""linux.mountLabel against a recorded fsconfig: this machine's kernel has no SELinux."""

from __future__ import annotations

import pytest

from ocirun.rootfs import filesystems

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr(filesystems, "fsopen", lambda _: filesystems.os.open("/", 0))  # type: ignore[attr-defined]
    monkeypatch.setattr(filesystems, "fsconfig_string", lambda _, k, v: told.append((k, v)))
    monkeypatch.setattr(filesystems, "fsconfig_create", lambda _: None)
    monkeypatch.setattr(filesystems, "fsmount", lambda *_: -1)
    return told


def test_recorded_label_reaches_fsconfig_whole_and_without_quotes(
    recorded: list[tuple[str, str]],
) -> None:
    data = ["size=1k", filesystems.label_option(LABEL)]
    filesystems.make_filesystem("tmpfs", "tmpfs", 0, 0, data)
    assert recorded == [("source", "tmpfs"), ("size", "1k"), ("context", LABEL)]


def test_recorded_label_of_mount_options_loses_its_quotes_too(
    recorded: list[tuple[str, str]],
) -> None:
    """Callers write it the way mount(8) wants it."""
    data = [f'rootcontext="{LABEL}"', "fscontext=plain", 'x="kept"']
    filesystems.make_filesystem("tmpfs", "", 0, 0, data)
    assert recorded == [("rootcontext", LABEL), ("fscontext", "plain"), ("x", '"kept"')]
