"""The order of checks: of two faults, report the one that runc reports, which callers match.

Source: docs/runc-compat/cli.md#order-of-checks.
"""

from __future__ import annotations

from ocirun.container.store import check_id
from ocirun.errors import ContainerExists, ContainerNotFound
from ocirun.spec.load import load_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.container.store import Store


def refuse_first(store: Store, container_id: str, options: CreateOptions) -> None:
    """Raise what comes before any other fault of a create or restore, if there is something.

    That is a bundle that cannot be used, an id that is none, and one that is taken.

    Raises:
        SpecError: the bundle. UsageError, ContainerExists: the id.
    """
    if options.document is None:
        load_config(options.bundle, options.config)
    check_id(container_id)
    try:
        store.open(container_id).close()
    except ContainerNotFound:
        return
    raise ContainerExists(container_id)
