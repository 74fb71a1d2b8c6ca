"""linux.seccomp: which system calls the container may make."""
