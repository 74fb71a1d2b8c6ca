"""A container by its id: what can be asked of it and done with it, whoever has made it."""

from __future__ import annotations

import os

from ocirun.container.state import state_of
from ocirun.container.store import Store, default_root
from ocirun.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ocirun.library.making import Configuration
    from ocirun.library.spec import Mapped
    from ocirun.spec.types import Resources
    from ocirun.spec.validate import Verdict


class KnownContainer:
    """The container `id` of the state root `root`, whose state is asked anew each time."""

    def __init__(self, container_id: str, *, root: str | None = None) -> None:
        if not isinstance(container_id, str):
            raise TypeError(f"the container's id must be a str, not {type(container_id).__name__}")
        if root is not None and not isinstance(root, (str, os.PathLike)):
            raise TypeError(f"root must be a path, not {type(root).__name__}")
        self.id = container_id
        self.root = os.path.abspath(root) if root else default_root()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, root={self.root!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, KnownContainer):
            return NotImplemented
        return (self.root, self.id) == (other.root, other.id)

    def __hash__(self) -> int:
        return hash((self.root, self.id))

    def update(
        self, resources: Resources, *, l3_cache_schema: str = "", mem_bw_schema: str = ""
    ) -> None:
        """Change the limits that `resources` has, and leave the others.

        `resources` is as linux.resources of config.json; its device rules have no effect. The two
        schemas are for a container with linux.intelRdt.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it has stopped.
            SpecError: `resources` breaks a rule.
            SetupError: the kernel refused a value; those before it are taken back.
        """
        from copy import deepcopy

        from ocirun.container.update import schemas_of, update
        from ocirun.spec.load import check_resources

        # A copy: what is null is taken out.
        document = check_resources(deepcopy(resources))
        schemas = schemas_of(l3_cache_schema, mem_bw_schema)
        update(Store(self.root), self.id, document, schemas)

    def add_mounts(self, *mounts: Mapping[str, Any] | Mapped) -> None:
        """Mount more in the running container; each is as of Spec.mounts. All of them, or none.

        Raises:
            ContainerNotFound: there is none of this id. SpecError: one breaks a rule.
            SetupError: the container does not run, or the kernel refused.
        """
        from ocirun.library.spec import mount_of

        self._change_mounts("add", [mount_of(mount) for mount in mounts])

    def remove_mounts(self, *destinations: str) -> None:
        """Unmount what is mounted at these paths of the running container: all of them, or none.

        Raises:
            As `add_mounts`.
        """
        self._change_mounts("remove", [{"destination": path} for path in destinations])

    def _change_mounts(self, act: str, mounts: list[dict[str, Any]]) -> None:
        from ocirun.library.command import call
        from ocirun.spec.jsontext import compact

        call(self.root, self.id, ["mounts", act], {}, data=os.fsencode(compact(mounts)))

    def checkpoint(self, image_path: str | os.PathLike[str], **flags: Any) -> None:  # noqa: ANN401
        """Save the container into the directory `image_path` by CRIU; it is gone then.

        `flags` are those of `ocirun checkpoint`, with "_" for "-": `leave_running=True`,
        `tcp_established=True`, `work_path="…"` and so on; docs/checkpoint.md.

        Raises:
            ContainerNotFound: there is none of this id. WrongStatus: it does not run.
            SetupError: CRIU failed, and the container runs as before.
        """
        from ocirun.library.command import call

        status = self.status
        if status not in ("running", "paused"):
            words = f"container cannot be checkpointed in the {status} state"
            raise WrongStatus(self.id, status, words)
        flags["image_path"] = os.path.abspath(image_path)
        call(self.root, self.id, ["checkpoint"], flags)

    @staticmethod
    def validate(source: Configuration, config: str = "config.json") -> Verdict:
        """Check a configuration, as `create` would be given it, without making anything.

        Returns:
            All `problems`, for which `create` would refuse it, and `warnings` of what is probably
            misspelled; each has a pointer, a message and a remedy.
        """
        from ocirun.library.making import document_of
        from ocirun.spec.validate import examine_bundle, examine_document

        if isinstance(source, (str, os.PathLike)):
            return examine_bundle(os.fspath(source), config)
        return examine_document(document_of(source), os.getcwd())

    def state(self) -> dict[str, Any]:
        """Return the container's state as `ocirun state` prints it."""
        return state_of(Store(self.root), self.id)

    @property
    def status(self) -> str:
        """The status: "created", "running", "paused" or "stopped"; "creating" meanwhile."""
        return str(self.state()["status"])

    def pause(self) -> None:
        """Stop all processes of the container where they are.

        Raises:
            WrongStatus: it is neither created nor running.
        """
        from ocirun.container.pause import pause

        pause(Store(self.root), self.id)

    def resume(self) -> None:
        """Resume the processes of the paused container.

        Raises:
            WrongStatus: it is not paused.
        """
        from ocirun.container.pause import resume

        resume(Store(self.root), self.id)

    def processes(self) -> list[int]:
        """List the pids of the container's processes as the host sees them, sorted.

        Raises:
            ContainerNotFound: there is none of this id.
        """
        from ocirun.container.pause import processes

        return processes(Store(self.root), self.id)

    def stats(self) -> dict[str, Any]:
        """Return what the container has used; docs/stats.md tells each key.

        The keys are those of `ocirun events`, and all of them are there: 0, [], {} or None stand
        for what this host does not count.

        Raises:
            WrongStatus: the container has stopped.
        """
        from ocirun.container.stats import stats_of

        return stats_of(Store(self.root), self.id)

    def events(self, interval: float = 5.0) -> Iterator[dict[str, Any]]:
        """Follow the container until it stops, as `ocirun events` does.

        Gives `{"type": "stats", "id": …, "data": …}` every `interval` seconds, with the data of
        `stats`, and `{"type": "oom", "id": …}` each time its memory ran out. It waits in between,
        for as long as the container lives; closing the generator ends it.

        Raises:
            WrongStatus: the container has stopped already.
            UsageError: the interval is not positive.
        """
        from ocirun.container.events import events
        from ocirun.library.process import check_number

        seconds = check_number(interval, "interval")
        return events(Store(self.root), self.id, int(seconds * 1_000_000_000))
