"""ocirun below a seccomp filter of somebody else, which refuses system calls that it makes.

A verb goes on where another call is as safe. Where safety rests on the refused one, the error has
its name and says what to allow, and so does `doctor`. Everything else fails in a sentence, and
leaves nothing.

Source: docs/doctor.md; systemd.exec(5) and Docker's default profile for such filters.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest
from harness import bars, sweep
from harness.box import Box, Container
from harness.bundle import Bundle
from harness.confined import refusing
from harness.faults import PASSED, Watch
from harness.filtered import profile, refuse
from harness.late_mounts import bind, new
from harness.needs import needs
from harness.runtime import Result, wait_until

ERRNOS = [errno.EPERM, errno.ENOSYS]
BY_NAME = pytest.mark.parametrize("number", ERRNOS, ids=["EPERM", "ENOSYS"])
# Refused, they change nothing.
REPLACED = [
    *("close_range", "faccessat2", "flock", "execveat", "sched_setaffinity", "clone3", "uname"),
]
# Refused, no container is made.
ESSENTIAL = [
    *("openat2", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr"),
]
# Without these no program comes as far as its own first line, or nobody could hear what it says.
TO_BE_A_PROGRAM = [
    *("execve", "arch_prctl", "mmap", "mprotect", "munmap", "brk", "openat", "read", "pread64"),
    *("close", "newfstatat", "write", "access", "exit", "exit_group", "getdents64", "lseek"),
    *("fcntl", "futex", "rt_sigaction", "readlink"),
]
# Calls that do not fail, or only wait, or without which nothing can be removed again.
WITHOUT_A_SENTENCE = ["umask", "getpid", "clock_nanosleep", "rmdir"]


class Life:
    """The verbs of one container after another, each below the same filter.

    With `everything` the container has what needs system calls of its own.
    """

    def __init__(self, box: Box, everything: bool = False) -> None:
        self.box = box
        self.bundle = box.bundle("/probe", "wait")
        if everything:
            _ask_for_everything(self.bundle)
        self.bundle.save()
        self.short = box.bundle("true")
        self.short.save()
        self.mounts = box.folder / "mounts.json"
        self.mounts.write_text(json.dumps([new("tmpfs", "/tmp"), bind("/proc/version", "/dev/v")]))

    def verbs(self, container: Container) -> list[list[Any]]:
        name = container.id
        return [
            ["run", "--bundle", self.short.path, f"{name}-run"],
            ["create", "--bundle", self.bundle.path, name],
            ["start", name],
            ["exec", name, "/probe", "call", "39"],
            ["mounts", "add", name, self.mounts],
            ["mounts", "remove", name, self.mounts],
            ["events", "--stats", name],
            ["ps", name],
            ["pause", name],
            ["resume", name],
            ["update", "--pids-limit", "100", name],
            ["state", name],
            ["list"],
            ["kill", name, "KILL"],
            ["delete", name],
        ]

    def lead(self, call: Callable[..., Result]) -> Result:
        """Make each verb by `call`, up to the first that fails; its result, or the last one's."""
        container = self.box.container(self.bundle)
        for words in self.verbs(container):
            result = call(*words)
            if result.status:
                break
            if words[0] == "kill":
                wait_until(lambda: container.status == "stopped", "the end of the container")
        return result

    def confined(self, name: str, number: int) -> Result:
        """Lead it with `name` refused; what is left is deleted without a filter."""
        filtered = refusing(number, name)
        result = self.lead(lambda *words: self.box.runtime.call(*words, preexec_fn=filtered))
        self.box.clean()
        return result


def _ask_for_everything(bundle: Bundle) -> None:
    """A user namespace, a filter, hooks, limits, and properties that are set by one call each."""
    bundle.use_userns((0, 100000, 1000))
    bundle.linux["seccomp"] = profile(refuse("personality"))
    bundle.linux["personality"] = {"domain": "LINUX"}
    bundle.linux["sysctl"] = {"kernel.msgmax": "4096"}
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    bundle.process["oomScoreAdj"] = 100
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 1}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    bundle.process["user"]["additionalGids"] = [5]
    moments = ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    bundle.config["hooks"] = {moment: [{"path": "/bin/true"}] for moment in moments}


@BY_NAME
@pytest.mark.parametrize("name", REPLACED)
def test_it_goes_on_without(box: Box, name: str, number: int) -> None:
    Life(box, everything=True).confined(name, number).ok()


@pytest.mark.parametrize("runtime_calls", [3, 40])
def test_no_descriptor_gets_in_without_close_range(box: Box, runtime_calls: int) -> None:
    """Closed one by one: what the caller of the runtime leaked is not there in the container."""
    leaked = [open("/etc/passwd") for _ in range(runtime_calls)]  # noqa: SIM115  # closed below
    container = box.container(box.bundle("/probe", "report", "fds"))
    keys: dict[str, Any] = {"pass_fds": [file.fileno() for file in leaked]}
    run = container.run(preexec_fn=refusing(errno.EPERM, "close_range"), **keys).ok()
    for file in leaked:
        file.close()
    assert "passwd" not in run.stdout


@needs("ours")
@BY_NAME
@pytest.mark.parametrize("name", ESSENTIAL)
def test_it_names_the_call_that_it_cannot_be_without(box: Box, name: str, number: int) -> None:
    result = Life(box).confined(name, number)
    result.failed(f"{name} is kept from ocirun itself: allow it in the seccomp filter")
    told = box.runtime.call("doctor", preexec_fn=refusing(number, name))
    assert f"{name} is kept from ocirun itself" in told.stdout, told.story()
    assert told.status == 1


@needs("ours")
def test_copying_stdio_names_the_call_that_threads_need(box: Box) -> None:
    """With EPERM for clone3 threads need a filter of our own, which may be refused as well."""
    container = box.container(box.bundle("echo", "copied"))
    run = container.run(preexec_fn=refusing(errno.EPERM, "clone3", "seccomp"))
    run.failed("copying stdio: can't start new thread (clone3 is kept from ocirun itself: allow it")
    assert box.container(box.bundle("echo", "copied")).run(
        preexec_fn=refusing(errno.EPERM, "clone3")
    ).ok().stdout == "copied\n"  # fmt: skip
    box.clean()


@needs("ours")
@BY_NAME
@pytest.mark.parametrize("name", ["poll", "rt_sigtimedwait"])
def test_who_cannot_wait_for_a_program_leaves_none(box: Box, name: str, number: int) -> None:
    """In the foreground; `exec` hung without poll. Detached, neither is needed."""
    confined = refusing(number, name)
    words = {"poll": "copying stdio: poll: ", "rt_sigtimedwait": "waiting for a signal: "}[name]
    container = box.container(box.bundle("/probe", "wait"))
    container.run(preexec_fn=confined, timeout=20).failed(words)
    box.runtime.call("state", container.id).failed("does not exist")
    container.run("--detach", preexec_fn=confined).ok()
    container.exec("/probe", "wait", preexec_fn=confined, timeout=20).failed(words, status=255)
    assert len(box.runtime.call("ps", "--format", "json", container.id).ok().json()) == 1
    container.exec("/probe", "wait", flags=("--detach",), preexec_fn=confined).ok()


@needs("ours")
@BY_NAME
def test_it_does_not_blame_a_filter_for_what_the_kernel_refuses(box: Box, number: int) -> None:
    """An EPERM of the kernel's own, with a filter around that refuses something else."""
    bundle = box.bundle()
    bundle.config["mounts"].append(
        {"destination": "/mnt", "type": "no-such-type", "source": "none"}
    )
    run = box.container(bundle).run(preexec_fn=refusing(number, "flock"))
    run.failed('knows no file system "no-such-type"')
    assert "kept from" not in run.said


@needs("ours")
@pytest.mark.parametrize("everything", [False, True], ids=["plain", "everything"])
def test_every_call_that_it_makes_is_done_without_or_named(box: Box, everything: bool) -> None:
    """All calls with `make bars`, else a sample."""
    life = Life(box, everything)
    names = sorted(_made(life).difference(TO_BE_A_PROGRAM, ESSENTIAL, REPLACED, WITHOUT_A_SENTENCE))
    assert len(names) > 40
    unsaid = []
    cases = [(name, number) for name in names for number in ERRNOS]
    for name, number in bars.sample(cases, 6, f"confined-{everything}"):
        try:
            result = life.confined(name, number)
        except AssertionError as error:  # no end, or none of the container's
            unsaid.append(f"{name} gives {errno.errorcode[number]}: {error}")
            box.clean()
            continue
        story = f"{name} gives {errno.errorcode[number]}\n{result.story(with_config=False)}"
        try:
            sweep.check_words(result, story)
        except AssertionError as error:
            unsaid.append(str(error))
    assert not unsaid, "\n".join(unsaid)


def _made(life: Life) -> set[str]:
    """Name the system calls that are made on the way, by whatever process."""
    made = set(PASSED)
    with Watch() as watch:

        def call(*words: Any) -> Result:  # noqa: ANN401  # str and Path
            watch.begin()
            result = watch.run(life.box.runtime, *words).ok()
            made.update(one.name for one in watch.calls)
            return result

        life.lead(call)
    return made
