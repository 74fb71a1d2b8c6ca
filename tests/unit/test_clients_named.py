"""Clients named by directory, with programs made up here."""

from __future__ import annotations

from pathlib import Path

import pytest
from clients.named import directories


def test_named_clients_come_first(tmp_path: Path) -> None:
    program = tmp_path / "podman"
    program.touch(0o755)
    assert directories({"PODMAN": str(tmp_path), "CONTAINERD": ""}) == [str(tmp_path)]
    assert directories({"PODMAN": str(program)}) == [str(tmp_path)]


@pytest.mark.parametrize("name", ["CRIO", "KUBELET"])
def test_the_message_names_what_was_asked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"{name}={tmp_path}: no program {name.lower()}"):
        directories({name: str(tmp_path)})


def test_a_directory_without_the_client_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"DOCKER=.*: no program dockerd"):
        directories({"DOCKER": str(tmp_path)})
