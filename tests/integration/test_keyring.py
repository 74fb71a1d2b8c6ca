"""The session keyring: the container's own, unless `--no-new-keyring`.

Source: session-keyring(7); docs/runc-compat/cli.md#create-and-run,
docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import ctypes
import os

import pytest
from harness.box import Box, Container
from harness.needs import needs
from harness.peers import peer_deviates

from ocirun.kernel.keyctl import join_session_keyring

ADD_KEY = {"x86_64": 248, "aarch64": 217}.get(os.uname().machine)
SESSION_KEYRING = -3
ENOKEY = 126
OWNER_SEARCH = 0x80000
OTHER_SEARCH = 0x8
SECRET = "ocirun-test-secret"


def caller_with_a_key() -> None:
    """Between fork and exec of the runtime: a session with a key in it, as login gives one."""
    join_session_keyring("ocirun-test-session")
    libc = ctypes.CDLL(None, use_errno=True)
    key = libc.syscall(ADD_KEY, b"user", SECRET.encode(), b"x", 1, SESSION_KEYRING)
    assert key > 0, os.strerror(ctypes.get_errno())


def fields(container: Container, *flags: str) -> list[str]:
    """The description of the session keyring inside: type, uid, gid, permissions, name."""
    text: str = container.run(*flags, preexec_fn=caller_with_a_key).ok().json()["keyring"]
    return text.split(";")


def searches(container: Container, *flags: str) -> int:
    container.bundle.process["args"] = ["/probe", "try", f"key:{SECRET}"]
    run = container.run(*flags, preexec_fn=caller_with_a_key).ok()
    (entry,) = run.json()
    return int(entry["errno"])


@peer_deviates("crun", "1.8 keeps the caller's")
def test_it_has_the_containers_name(box: Box) -> None:
    container = box.container()
    assert fields(container)[-1].startswith(f"_ses.{container.id}")


@peer_deviates("crun", "1.8 keeps the caller's")
def test_its_owner_may_search_it(box: Box) -> None:
    kind, uid, _, permissions, _ = fields(box.container())
    assert (kind, uid) == ("keyring", "0")
    assert int(permissions, 16) & OWNER_SEARCH


@pytest.mark.skipif(ADD_KEY is None, reason="add_key(2) has no number here")
def test_the_callers_keys_are_not_found_in_it(box: Box) -> None:
    assert searches(box.container()) == ENOKEY


@pytest.mark.skipif(ADD_KEY is None, reason="add_key(2) has no number here")
def test_the_callers_keys_stay_with_no_new_keyring(box: Box) -> None:
    assert searches(box.container(), "--no-new-keyring") == 0


def test_no_new_keyring_keeps_the_callers_session(box: Box) -> None:
    assert fields(box.container(), "--no-new-keyring")[-1] == "ocirun-test-session"


def test_two_containers_have_two(box: Box) -> None:
    numbers = {box.report(box.bundle())["keyring_number"] for _ in range(2)}
    assert len(numbers) == 2


@needs("userns")
@peer_deviates("crun", "1.8 keeps the caller's")
def test_in_a_user_namespace(box: Box) -> None:
    container = box.container()
    container.bundle.use_userns((0, 100000, 65536))
    kind, _, _, permissions, name = fields(container)
    assert kind == "keyring"
    assert name.startswith(f"_ses.{container.id}")
    assert int(permissions, 16) & OTHER_SEARCH


@needs("userns")
@pytest.mark.skipif(ADD_KEY is None, reason="add_key(2) has no number here")
def test_the_callers_keys_are_not_found_in_a_user_namespace(box: Box) -> None:
    container = box.container()
    container.bundle.use_userns((0, 100000, 65536))
    assert searches(container) != 0


@peer_deviates("crun", "1.8 keeps the caller's")
def test_a_user_that_is_not_root_has_the_same(box: Box) -> None:
    container = box.container(None, user={"uid": 1000, "gid": 1000})
    assert fields(container)[-1].startswith(f"_ses.{container.id}")
