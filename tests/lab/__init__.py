"""The lab: a virtual machine with systemd, cgroup v2 alone, AppArmor and every capability.

`make lab` (`__main__`) makes it where it is missing and runs tests in it:

    cache     where the parts are kept, by a hash of what defines them
    image     the root disk: a Debian with systemd            ┐
    kernel    a Debian kernel, its modules, an initial disk   ├ made once for each definition
    snapshot  the booted machine, kept to be restored         ┘
    payload   ocirun and pytest, installed for the guest's Python: once for each checkout
    vm        one run of QEMU, and what is said to it
    session   one command in it, and what it prints
    chapters  which tests run when nobody says
    table     the counts in docs/lab.md

guest/ has what runs inside. Nothing here needs more than the standard library.
"""
