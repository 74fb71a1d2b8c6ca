"""A container by its id: queries and operations that do not depend on who created it."""

from __future__ import annotations

import os

from ocirun.container.state import state_of
from ocirun.container.store import Store, default_root
from ocirun.errors import WrongStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

    from ocirun.library.making import Configuration
    from ocirun.library.spec import Mapped
    from ocirun.spec.types import Resources
    from ocirun.spec.validate import Verdict


class KnownContainer:
    """The container `id` of the state root `root`; its state is read on each call."""

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
        """Change the limits that `resources` names; others stay as they are.

        `resources` is as linux.resources of config.json; its device rules have no effect. The two
        schemas are for a container with linux.intelRdt.

        Raises:
            ContainerNotFound: there is none of this id.
            WrongStatus: it has stopped.
            SpecError: `resources` breaks a rule.
            SetupError: the kernel refused a value; the values written before it are restored.
        """
        from copy import deepcopy

        from ocirun.container.update import schemas_of, update
        from ocirun.spec.load import check_resources

        # A copy without null members.
        document = check_resources(deepcopy(resources))
        schemas = schemas_of(l3_cache_schema, mem_bw_schema)
        update(Store(self.root), self.id, document, schemas)

    def add_mounts(self, *mounts: Mapping[str, Any] | Mapped) -> None:
        """Add mounts, in the forms of Spec.mounts, to the running container: all of them, or none.

        Raises:
            ContainerNotFound: no container has this id. SpecError: a mount breaks a rule.
            SetupError: the container does not run, or the kernel refused.
        """
        from ocirun.library.spec import mount_of

        self._change_mounts("add", [mount_of(mount) for mount in mounts])

    def remove_mounts(self, *destinations: str) -> None:
        """Unmount these paths in the running container: all of them, or none.

        Raises:
            As `add_mounts`.
        """
        self._change_mounts("remove", [{"destination": path} for path in destinations])

    def _change_mounts(self, act: str, mounts: list[dict[str, Any]]) -> None:
        from ocirun.library.command import call
        from ocirun.spec.jsontext import compact

        call(self.root, self.id, ["mounts", act], {}, data=os.fsencode(compact(mounts)))

    def checkpoint(self, image_path: str | os.PathLike[str], **flags: Any) -> None:  # noqa: ANN401
        """Checkpoint the container into the directory `image_path` with CRIU; this stops it.

        `flags` are those of `ocirun checkpoint`, with "_" for "-": `leave_running=True`,
        `tcp_established=True`, `work_path="…"` and so on; docs/checkpoint.md.

        Raises:
            ContainerNotFound: there is none of this id. WrongStatus: it does not run.
            SetupError: CRIU failed; the container keeps running.
        """
        from ocirun.library.command import call

        status = self.status
        if status not in ("running", "paused"):
            words = f"Container cannot be checkpointed in {status} state"
            raise WrongStatus(self.id, status, words)
        flags["image_path"] = os.path.abspath(image_path)
        call(self.root, self.id, ["checkpoint"], flags)

    @staticmethod
    def validate(source: Configuration, config: str = "config.json") -> Verdict:
        """Check a configuration, in the forms that `create` takes; creates nothing.

        Returns:
            All `problems`, for which `create` would refuse it, and `warnings` about probable
            misspellings; each has a pointer, a message and a remedy.
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
        """The status: "creating", "created", "running", "paused" or "stopped"."""
        return str(self.state()["status"])

    def pause(self) -> None:
        """Freeze all processes of the container.

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
        """Return the host pids of the container's processes, sorted.

        Raises:
            ContainerNotFound: there is none of this id.
        """
        from ocirun.container.pause import processes

        return processes(Store(self.root), self.id)

    def stats(self) -> dict[str, Any]:
        """Return the container's resource usage; docs/stats.md describes each key.

        The keys are those of `ocirun events`. All are present: what this host does not count is 0,
        [], {} or None.

        Raises:
            WrongStatus: the container has stopped.
        """
        from ocirun.container.stats import stats_of

        return stats_of(Store(self.root), self.id)

    def events(self, interval: float = 5.0) -> Generator[dict[str, Any], None, None]:
        """Follow the container until it stops, as `ocirun events` does.

        Yields `{"type": "stats", "id": …, "data": …}` every `interval` seconds, with the data of
        `stats`, and `{"type": "oom", "id": …}` for each out-of-memory event. It blocks in between;
        closing the generator ends it.

        Raises:
            WrongStatus: the container has stopped already.
            UsageError: the interval is not positive.
        """
        from ocirun.container.events import events
        from ocirun.library.process import interval_ns

        return events(Store(self.root), self.id, interval_ns(interval))
