"""What runs a container: ocirun itself (native), or a program that ocirun drives.

    engine           the interface, and the engine of a name or of a record
    lxc/             LXC: lxc-start and its tools

Native is the code of `container/` itself. A verb asks for an engine only if the record it has read
anyway names one, so native containers pay nothing for the others.

Source: docs/engines.md.
"""
