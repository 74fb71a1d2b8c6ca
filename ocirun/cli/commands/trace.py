"""`ocirun trace view`: what `--trace` has recorded, as a text and as a page of HTML."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.cli.call import Call


def run(call: Call) -> int:
    """Print the summary of each trace; with --output, write the page of them all."""
    act, *paths = call.arguments
    if act != "view":
        raise UsageError(f'"trace {act}": expected "view"')
    from ocirun.trace.load import load
    from ocirun.trace.summary import summary

    traces = sorted((load(path) for path in paths), key=lambda trace: trace.epoch_ns)
    output = call.text("output")
    if output:
        from ocirun.trace.page import write_page

        write_page(traces, output)
    write("\n".join(summary(trace) for trace in traces))
    return 0
