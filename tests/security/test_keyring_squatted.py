"""The session keyring of a container is not one that somebody else has made before.

Attack: a process of the host's root makes a keyring of the name that the container's will have, and
puts a key into it; a container that joins it by name shares keys with that process.

runc 1.1.5 joins `_ses.ID` and shares the key.

Source: keyctl_join_session_keyring(3): one that has the name already is joined.
"""

from __future__ import annotations

import ctypes
import os
import signal

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates

from ocirun.kernel.keyctl import (
    KEY_SPEC_SESSION_KEYRING,
    describe_permissions,
    join_session_keyring,
    set_permissions,
)

ADD_KEY = {"x86_64": 248, "aarch64": 217}.get(os.uname().machine)
OWNER_SEARCH = 0x80000
ENOKEY = 126
SECRET = "ocirun-test-squatter"

pytestmark = [
    needs("root"),
    pytest.mark.skipif(ADD_KEY is None, reason="add_key(2) has no number here"),
]


def session_with_a_key(name: str) -> None:
    join_session_keyring(name)
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(ADD_KEY, b"user", SECRET.encode(), b"x", 1, KEY_SPEC_SESSION_KEYRING)
    assert key > 0, os.strerror(ctypes.get_errno())


class Squatter:
    """A process in a session keyring `name` with a key in it, for as long as the block lasts."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                session_with_a_key(self.name)
                # Kernel: a keyring is joined by who may search it.
                permissions = describe_permissions(KEY_SPEC_SESSION_KEYRING)
                set_permissions(KEY_SPEC_SESSION_KEYRING, permissions | OWNER_SEARCH)
                os.write(writing, b"x")
                signal.pause()
            finally:
                os._exit(1)
        os.close(writing)
        assert os.read(reading, 1) == b"x"
        os.close(reading)

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def own_session() -> None:
    """Between fork and exec of the runtime: a session of the caller's own, without that key."""
    join_session_keyring("ocirun-test-session")


def finds_the_key(container: Container) -> bool:
    (entry,) = container.run(preexec_fn=own_session).ok().json()
    return int(entry["errno"]) != ENOKEY


@peer_deviates("runc", "joins it by its name")
@peer_deviates("crun", "1.8 keeps the caller's", sometimes=True)
def test_it_is_not_joined_by_a_container(box: Box) -> None:
    container = box.container(None, "/probe", "try", f"key:{SECRET}")
    with Squatter(f"_ses.{container.id}"):
        assert not finds_the_key(container)


@peer_deviates("runc", "joins it by its name")
def test_it_is_not_joined_by_exec(box: Box) -> None:
    container = box.running()
    with Squatter(f"_ses.{container.id}"):
        call = container.exec("/probe", "try", f"key:{SECRET}", preexec_fn=own_session)
    assert call.ok().json()[0]["errno"] == ENOKEY


@peer_deviates("crun", "1.8 keeps the caller's", sometimes=True)
def test_exec_shares_the_containers(box: Box) -> None:
    container = box.container(box.bundle("/probe", "wait"))
    container.create().ok()
    number = container.exec("/probe").ok().json()["keyring_number"]
    assert container.exec("/probe").ok().json()["keyring_number"] == number
