"""The engine `vm`: the container's process in a virtual machine of QEMU.

    engine     the interface of engines, on a machine
    config     what of config.json holds where: frames for the guest, refusals, hardware
    section    what the section vm of config.json has to be
    machine    the programs and files of this host; the processes of a machine
    saved      states of booted machines, in files
    restore    from such a state to a machine
    qemu       QEMU's command line
    qmp        the conversation with QEMU
    share      what the guest sees of the host's files
    monitor    the process of ours that a machine belongs to
    order      what a monitor is told to run
    session    one process in the guest, and its stdio here
    console    what the guest and QEMU say, and why a machine has ended
    signals    signals of this host, for the guest
    control    requests to the monitor: processes of exec, signals
    execution  exec: a process of ours that stands for one in the guest
    frames     what monitor and guest send each other
    guest/     the first process of the guest, in C

Source: docs/vm.md.
"""
