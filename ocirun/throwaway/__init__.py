"""`ocirun try`: a command in a container that leaves nothing behind, and no bundle to begin with.

    options    what the caller asked for
    machine    what of this machine's own file system is shown, and what of that is masked
    layers     a root of overlays, one for each directory that is shown
    identity   the user inside, and the ids that a user namespace may map
    config     all of that as a config.json
    scratch    namespaces and a tmpfs that end with this process: where the writes go
    run        run it, or write the bundle
    changes    what was written

The root is a directory with one overlay for each top-level directory: no overlay lies over `/`,
which a user namespace may not have (docs/try.md). What comes out is an ordinary bundle, which other
runtimes run too.
"""
