"""`ocirun convert`: between an OCI bundle, an LXC configuration and a container.json.

    formats          what the three are, and which one a path has
    rest             what of a document nobody has taken yet
    lxc_read         an LXC configuration to a config.json
    lxc_write        and back
    libcontainer     container.json of libcontainer 0.11, both ways
    capabilities     the sets of capabilities, in one

config.json is the middle: a reader makes one, a writer takes one. Both list by name what has no
counterpart.

Source: docs/convert.md.
"""
