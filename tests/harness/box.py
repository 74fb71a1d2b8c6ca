"""The workbench of one test: bundles and containers that are gone when the test ends."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.bundle import Bundle
from harness.leaks import reap
from harness.machine import MARK
from harness.runtime import Result, Runtime, finish, wait_until

EMPTY = -1  # the probe's answer for a file that can be opened and has nothing in it


class Container:
    """One container of a test. Each verb returns its `Result`; nothing is checked by itself."""

    def __init__(self, runtime: Runtime, bundle: Bundle, container_id: str) -> None:
        self.runtime = runtime
        self.bundle = bundle
        self.id = container_id
        self._first: Result | None = None

    def create(self, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
        return self._begin("create", flags, keys)

    def run(self, *flags: str | Path, **keys: Any) -> Result:  # noqa: ANN401
        return self._begin("run", flags, keys)

    def start(self, **keys: Any) -> Result:  # noqa: ANN401
        return self.runtime.call("start", self.id, **keys)

    def kill(self, *arguments: str, **keys: Any) -> Result:  # noqa: ANN401
        return self.runtime.call("kill", self.id, *arguments, **keys)

    def delete(self, *flags: str, **keys: Any) -> Result:  # noqa: ANN401
        return self.runtime.call("delete", *flags, self.id, **keys)

    def exec(self, *args: str, flags: tuple[str | Path, ...] = (), **keys: Any) -> Result:  # noqa: ANN401
        """Run `args` in the container, `flags` being those of exec."""
        return self.runtime.call("exec", *flags, self.id, *args, **keys)

    def exec_process(
        self,
        process: dict[str, Any],
        *flags: str | Path,
        **keys: Any,  # noqa: ANN401
    ) -> Result:
        """Run what `process` says, by `exec --process`."""
        file = self.bundle.path / f"process{len(self.runtime.calls)}.json"
        file.write_text(json.dumps(process))
        return self.runtime.call("exec", "--process", file, *flags, self.id, **keys)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.runtime.call("state", self.id).ok().json()
        return state

    @property
    def status(self) -> str:
        return str(self.state()["status"])

    @property
    def pid(self) -> int:
        return int(self.state()["pid"])

    @property
    def output(self) -> str:
        """What the container has written so far (create, run and run --detach inherit stdout)."""
        assert self._first is not None
        return self._first.stdout

    @property
    def errors(self) -> str:
        assert self._first is not None
        return self._first.stderr

    def wait_output(self, text: str) -> str:
        """Wait until the container has written `text`; returns all its output."""
        wait_until(lambda: text in self.output, f"{text!r} in the output")
        return self.output

    def wait_status(self, status: str) -> None:
        wait_until(lambda: self.status == status, f"status {status}")

    def stop(self) -> None:
        """Kill it and wait until it is stopped."""
        self.kill("KILL").ok()
        self.wait_status("stopped")

    def finished(self) -> str:
        """Start it, wait for its end, delete it; returns its output."""
        self.start().ok()
        self.wait_status("stopped")
        self.delete().ok()
        return self.output

    def _begin(self, verb: str, flags: tuple[str | Path, ...], keys: dict[str, Any]) -> Result:
        keys.setdefault("bundle", self.bundle)
        self._first = self.runtime.call(verb, "--bundle", self.bundle.path, *flags, self.id, **keys)
        return self._first


class Box:
    """Makes bundles and containers below `folder`."""

    def __init__(self, runtime: Runtime, folder: Path, programs: Path) -> None:
        self.runtime = runtime
        self.folder = folder
        self.containers: list[Container] = []
        self._programs = programs
        self._count = 0

    def bundle(self, *args: str, **process: Any) -> Bundle:  # noqa: ANN401
        """Make a minimal bundle; `args` and `process` keys replace those of `process`."""
        self._count += 1
        path = self.folder / f"bundle{self._count}"
        path.mkdir()
        bundle = Bundle(path, self._programs)
        if args:
            bundle.process["args"] = list(args)
        bundle.process.update(process)
        return bundle

    def container(self, bundle: Bundle | None = None, *args: str, **process: Any) -> Container:  # noqa: ANN401
        """Name a new container of `bundle` (default: a new minimal one); nothing is run."""
        bundle = bundle or self.bundle(*args, **process)
        container_id = f"{MARK}-{self.folder.name}-{len(self.containers)}"
        container = Container(self.runtime, bundle, container_id)
        self.containers.append(container)
        return container

    def created(self, bundle: Bundle | None = None, *args: str, **process: Any) -> Container:  # noqa: ANN401
        """Return a created container."""
        container = self.container(bundle, *args, **process)
        container.create().ok()
        return container

    def running(self, bundle: Bundle | None = None, *args: str, **process: Any) -> Container:  # noqa: ANN401
        """Return a running container; the default program is `probe wait`."""
        if bundle is None and not args:
            args = ("/probe", "wait")
        container = self.created(bundle, *args, **process)
        container.start().ok()
        if container.bundle.process["args"][:2] in (["/probe", "wait"], ["/probe", "trap"]):
            container.wait_output("ready")
        return container

    def output(self, bundle: Bundle) -> str:
        """Run the bundle in the foreground, check that it succeeded, return what it wrote."""
        return self.container(bundle).run().ok().stdout

    def report(self, bundle: Bundle) -> dict[str, Any]:
        """Run the probe in this bundle and return what it saw; `args` may carry file:PATH."""
        report: dict[str, Any] = json.loads(self.output(bundle))
        return report

    def attempts(self, bundle: Bundle, *calls: str) -> list[int]:
        """Let the probe try "CALL:PATH"s; returns for each 0 (allowed), an errno, or EMPTY."""
        bundle.process["args"] = ["/probe", "try", *calls]
        return [entry["errno"] for entry in json.loads(self.output(bundle))]

    @contextmanager
    def other_root(self) -> Iterator[None]:
        """Let the runtime use a second state root during the block."""
        first, self.runtime.root = self.runtime.root, self.folder / "state2"
        try:
            yield
        finally:
            self.runtime.root = first

    def clean(self) -> None:
        """Delete what is left, as a user would: by `delete --force`."""
        root = self.runtime.root
        names = os.listdir(root) if root.exists() else []
        for name in (name for name in names if name[0] != "@"):  # no containers (leaks.py)
            process, result = self.runtime.spawn("delete", "--force", name)
            # Kernel: the init of a pid namespace is not gone before the last process in it has
            # been reaped, and detached ones of exec have come to us.
            wait_until(lambda pid=process.pid: _has_ended(pid), "the end of delete", 30)
            finish(process, result)

    def story(self) -> str:
        """The last calls of the test, and their bundle, for the reader of its failure."""
        calls = self.runtime.calls[-8:]
        bundles = {call.bundle.path: call.bundle for call in self.runtime.calls if call.bundle}
        return "\n\n".join(
            [call.story(with_config=False) for call in calls]
            + [f"{path}/config.json: {json.dumps(b.config)}" for path, b in bundles.items()]
        )


def _has_ended(pid: int) -> bool:
    """Return whether our child `pid` is a zombie by now; reaps all others that are."""
    reap({pid})
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
