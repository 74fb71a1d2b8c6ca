"""The engine `lxc`: containers started by lxc-start, from an LXC configuration of the bundle.

    engine           the interface of engines, on LXC
    configuration    config.json to the LXC configuration of one container
    tools            start lxc-start, call LXC's other tools, read its log
    console          the terminal in front of LXC's console
    cgroup           where LXC has put a container

Source: docs/engines.md#lxc; lxc-start(1), lxc.container.conf(5).
"""
