"""ocirun as a library: containers in the shape of `subprocess`. docs/library.md is its manual.

    run.py         run: a container from beginning to end, and what is left of it
    container.py   Container: made by create or run, or found again by its id
    known.py       what can be done with a container of which only the id is known
    process.py     Process: what containers and processes of exec have in common
    child.py       how the end of a process is learned, whoever waits
    children.py    the children that nobody has waited for yet
    making.py      arguments of the library, made those of create and exec
    found.py       the init of a container that somebody else has made
    streams.py     stdin, stdout and stderr: pipes, files, descriptors
    spec.py        Spec: a config.json in one call
    command.py     verbs that a process of the command does: mounts, checkpoint, restore
    loop.py        for ocirun.aio: calls in threads of a loop; loop_process.py has its Process

`ocirun.aio` has the same for asyncio. A program with threads cannot fork safely, so init is cloned
by a helper (process/helper.py): a sealed process of its own, which has nothing of the program's.
Everything else is what the command line does. Nothing here prints, and every failure is a
TypeError, a ValueError, or a class of `ocirun.errors`.
"""
