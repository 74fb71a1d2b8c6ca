"""`ocirun convert`: convert between OCI bundles, LXC configurations and container.json.

    formats          the three formats, and detection by path
    rest             the part of a document that is not converted yet
    lxc_read         LXC configuration to config.json
    lxc_write        config.json to LXC configuration
    libcontainer     container.json of libcontainer 0.11, both ways
    networks         the annotation org.ocirun.networks, lxc.net, networks of container.json
    capabilities     one list of capabilities to five sets and back

config.json is the intermediate format: readers return it, writers take it. Both list the names of
members without a counterpart.

Source: docs/convert.md.
"""
