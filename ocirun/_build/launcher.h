/* The three parts of the launcher: launcher.c decides, seal.c protects, embed.c runs Python. */

#ifndef OCIRUN_LAUNCHER_H
#define OCIRUN_LAUNCHER_H

#include <limits.h>
#include <stdbool.h>

/* Where the launcher lives: its folder (absolute, borrowed by every callee) and its own name. */
struct origin {
    int dir_fd;
    char directory[PATH_MAX];
    char name[NAME_MAX + 1];
};

/* Print "ocirun: <sentence>" on stderr and exit with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Run this very program again from a file nobody can write to; argv as the user gave it. */
_Noreturn void exec_sealed(const struct origin *origin, int argc, char **argv);

/* Is /proc/self/exe a file that nobody can write to? */
bool is_sealed(void);

/* If the arguments come from exec_sealed, take its word out of them and fill in the origin. */
bool take_origin(struct origin *origin, int *argc, char **argv);

/* Start the interpreter this launcher was built for and hand over to ocirun.cli.launcher. */
_Noreturn void run_python(const struct origin *origin, int argc, char **argv);

#endif
