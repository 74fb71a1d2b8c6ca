"""delete beside a create, and beside another delete."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ocirun.container.delete import delete
from ocirun.container.store import Store
from ocirun.errors import ContainerNotFound, WrongStatus


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(os.fspath(tmp_path / "root"))


def test_what_is_just_being_made_stays(store: Store) -> None:
    """Its maker has the folder and has written nothing yet."""
    folder = store.claim("web")
    with pytest.raises(WrongStatus, match=r"cannot delete container web .*: creating"):
        delete(store, "web", force=False)
    assert folder.is_in_place()
    folder.close()


def test_what_a_killed_maker_left_goes(store: Store) -> None:
    store.claim("web").close()
    with pytest.raises(ContainerNotFound):
        delete(store, "web", force=False)
    assert store.ids() == []


def test_two_may_remove_the_same_folder(store: Store) -> None:
    failures: list[Exception] = []

    def remove() -> None:
        try:
            with store.open("web") as folder:
                if folder.lock(5) and folder.is_in_place():
                    folder.remove()
        except ContainerNotFound:  # another one was faster
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, none is expected
            failures.append(error)

    for _ in range(50):
        store.claim("web").close()
        for name in ("state.json", "config.json", "start.fifo"):
            Path(store.root, "web", name).touch()
        threads = [threading.Thread(target=remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
