"""One system call of a verb fails, or is the last thing its process does: every one in its turn.

Afterwards a sentence has said what failed, `state` and `list` tell what is, `delete --force` works,
and nothing is left. `make bars` tries every point; other runs a sample, the same each time.

Source: docs/runc-compat/state.md#status, docs/runc-compat/state.md#leftovers; docs/robustness.md
for what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import bars, leaks, sweep
from harness.box import Box, Container
from harness.faults import KILL, Call, Watch
from harness.needs import needs
from harness.runtime import Result, wait_until

pytestmark = needs("ours")  # the words are ours; peers' are in Go, which cannot be starved so


class Verb:
    """One verb in the sweep: what stands before it, and what may be true after it."""

    def __init__(self, words: str, before: str, good: str, failed: str, args: str = "") -> None:
        self.words = words.split()
        self.before = before
        self.good = good.split()
        self.failed = failed.split()
        self.args = args.split() or ["/probe", "wait"]


# "-" is a container that is not there (any more). A start whose program dies at once, by a fault of
# its own, is one that succeeded.
VERBS = {
    "create": Verb("create --bundle BUNDLE ID", "", "created", "-"),
    "run": Verb("run --bundle BUNDLE ID", "", "-", "- stopped", "/bin/true"),
    "start": Verb("start ID", "created", "running stopped", "created running stopped"),
    "exec": Verb("exec ID /bin/true", "running", "running", "running"),
    "pause": Verb("pause ID", "running", "paused", "running"),
    "resume": Verb("resume ID", "paused", "running", "paused running"),
    "kill": Verb("kill ID KILL", "running", "stopped", "running stopped"),
    "delete": Verb("delete --force ID", "running", "-", "- running stopped"),
}


class Stage:
    """Where one verb is played again and again, each time with something else going wrong."""

    def __init__(self, box: Box, verb: Verb) -> None:
        self.box = box
        self.verb = verb
        self.bundle = box.bundle(*verb.args)
        self.bundle.save()

    def play(
        self, watch: Watch, decide: Callable[[Call], int] | None
    ) -> tuple[Result, Container, list[Call]]:
        """Bring a new container to where the verb begins, and do the verb."""
        container = self.box.container(self.bundle)
        before = self.verb.before
        if before:
            # Watched as well: at its start, init's calls are among those that can fail.
            create = ("create", "--bundle", self.bundle.path, container.id)
            created = watch.run(self.box.runtime, *create).ok()
        if before in ("running", "paused"):
            container.start().ok()
            # Order: what the program does at its start is not to fail in the place of the verb.
            wait_until(lambda: "ready" in created.stdout, "the program says that it is ready")
        if before == "paused":
            self.box.runtime.call("pause", container.id).ok()
        names = {"BUNDLE": str(self.bundle.path), "ID": container.id}
        watch.begin(decide)
        result = watch.run(self.box.runtime, *(names.get(w, w) for w in self.verb.words))
        calls = list(watch.calls)
        watch.decide = lambda _: 0
        return result, container, calls

    def recorded(self) -> list[Call]:
        """Let everything go well; the calls that were made."""
        with Watch() as watch:
            result, container, calls = self.play(watch, None)
            result.ok()
            self.put_away(container)
        return calls

    def put_away(self, container: Container) -> None:
        self.box.clean()
        assert self.status(container) == "-"

    def status(self, container: Container) -> str:
        """What `list` says, which has nothing to complain of, and `state` the same."""
        found = self.box.runtime.call("list", "--format", "json").ok()
        assert not found.stderr, found.story()
        states = {entry["id"]: entry["status"] for entry in found.json() or []}
        status = str(states.get(container.id, "-"))
        asked = self.box.runtime.call("state", container.id)
        assert asked.status == (1 if status == "-" else 0), asked.story()
        return status

    def settled(self, container: Container, wanted: list[str]) -> bool:
        leaks.reap(set())
        return self.status(container) in wanted


@pytest.mark.parametrize("name", VERBS)
def test_a_call_fails(box: Box, name: str) -> None:
    stage = Stage(box, VERBS[name])
    points = sweep.points(stage.recorded())
    assert len(points) > 100
    tried = bars.sample(points, 20, name)
    hits = failures = 0
    for point, number in tried:
        with Watch() as watch:
            result, container, _ = stage.play(watch, sweep.at(point, number))
            story = f"{point} fails with {number}\n{result.story(with_config=False)}"
            hits += len(watch.hits)
            failures += result.status != 0
            sweep.check_words(result, story)
            wanted = stage.verb.failed if result.status else stage.verb.good
            wait_until(lambda c=container, w=wanted: stage.settled(c, w), f"{wanted}: {story}")
            if name == "exec":
                only_init(container, story)
            stage.put_away(container)
    assert hits > len(tried) // 2  # a call may come once more or less often
    assert failures


def only_init(container: Container, story: str) -> None:
    """Be sure that of a failed exec no process stayed in the container."""

    def pids() -> list[Any]:
        leaks.reap({container.pid})
        found: list[Any] = container.runtime.call("ps", "-f", "json", container.id).ok().json()
        return found

    wait_until(lambda: len(pids()) == 1, f"only init is left: {story}")


@pytest.mark.parametrize("name", VERBS)
def test_a_process_dies_at_a_call(box: Box, name: str) -> None:
    """Parent, stage or init is killed; the others see it and end, or carry on to the end."""
    stage = Stage(box, VERBS[name])
    calls = stage.recorded()
    places = bars.sample([c for c in calls if c.process], 8, name) if name != "kill" else []
    places += bars.sample([c for c in calls if not c.process], 8, name)
    ends = ["-", "created", "running", "paused", "stopped"]
    for place in places:
        with Watch() as watch:
            _, container, _ = stage.play(watch, sweep.at(place, KILL))
            story = f"{place} is the last call of its process"
            wait_until(lambda c=container: stage.settled(c, ends), f"an end: {story}")
            stage.put_away(container)
