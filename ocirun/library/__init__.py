"""ocirun as a library: containers with the interface of `subprocess`. Manual: docs/library.md.

    run.py         run: create, start, wait for and delete a container; its result
    container.py   Container: created by create or run, or looked up by id
    known.py       the operations that need only a container's id
    process.py     Process: the common base of containers and exec processes
    child.py       Child: exit status of a process, shared by all waiters
    children.py    children that have not been waited for yet
    making.py      library arguments to the options of create and exec
    found.py       the init of a container that another program created
    streams.py     stdin, stdout and stderr: pipes, files, descriptors
    helper.py      close_helper
    spec.py        Spec: a config.json in one call
    command.py     verbs that run as an `ocirun` process: mounts, checkpoint, restore
    loop.py        for ocirun.aio: calls in threads of a loop; loop_process.py: its Process

`ocirun.aio` is the asyncio counterpart. A program with threads cannot fork safely, so a helper
(process/helper.py) clones init: a separate, sealed process that shares no memory or descriptors
with the program. Everything else works as on the command line. Nothing here prints; errors are a
TypeError, a ValueError, or a class of `ocirun.errors`.
"""
