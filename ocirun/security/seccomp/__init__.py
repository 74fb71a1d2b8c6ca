"""linux.seccomp: compile, load and pass on system call filters."""
