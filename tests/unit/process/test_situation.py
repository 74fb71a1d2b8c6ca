"""What a helper's inits would inherit is noticed when it changes, for each thread by itself."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ocirun.kernel.prctl import set_no_new_privs
from ocirun.process.situation import privileges, situation

Change = Callable[[], object]


def lower_a_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, soft - 1))


def be_killed_sooner() -> None:
    score = Path("/proc/self/oom_score_adj")
    score.write_text(str(min(1000, int(score.read_text()) + 1)))


def notices(change: Change) -> bool:
    """Return whether a child of ours has another situation after the change."""
    pid = os.fork()
    if pid == 0:
        try:
            before = situation()
            change()
            os._exit(3 if situation() != before else 4)
        finally:
            os._exit(5)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {3, 4}
    return status == 3


@pytest.mark.parametrize(
    "change",
    [
        lower_a_limit,
        be_killed_sooner,
        set_no_new_privs,
        lambda: os.nice(1),
        lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    ],
    ids=["limit", "oom_score_adj", "no_new_privs", "nice", "scheduler"],
)
def test_what_is_inherited_is_noticed(change: Change) -> None:
    assert notices(change)


@pytest.mark.parametrize(
    "change",
    [
        lambda: None,
        lambda: os.chdir("/proc"),
        lambda: os.umask(0o077),
        lambda: os.environ.update(A="b"),
        lambda: os.open("/dev/null", os.O_RDONLY),
    ],
    ids=["nothing", "directory", "umask", "environment", "descriptor"],
)
def test_what_init_sets_itself_is_not(change: Change) -> None:
    assert not notices(change)


def test_each_thread_has_its_own() -> None:
    found: list[bool] = []

    def change_one_thread() -> None:
        before = situation()
        set_no_new_privs()
        found.append(situation() != before)

    def both() -> None:
        thread = threading.Thread(target=change_one_thread)
        thread.start()
        thread.join()
        assert found == [True]

    assert not notices(both)


def test_privileges_of_a_process_that_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        privileges(f"/proc/{pid}")
    assert any(line.startswith(b"CapEff:") for line in privileges("/proc/self"))
