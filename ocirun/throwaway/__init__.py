"""`ocirun try`: run a command in a temporary container, without a bundle.

    options    the flags of `try`
    machine    which parts of this machine's file system are shown, and which of those are masked
    layers     a root of overlays, one for each shown directory
    identity   the user inside, and the ids that a user namespace may map
    config     the config.json made from all of these
    scratch    namespaces and a tmpfs for the writes, which end with this process
    run        run it, or write the bundle
    changes    the list of what was written

The root is a directory with one overlay for each top-level directory: an overlay over `/` is not
possible in a user namespace (docs/try.md). The result is an ordinary bundle, which other runtimes
run too.
"""
