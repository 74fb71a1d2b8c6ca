/* The parts of the launcher: launcher.c decides, seal.c protects, embed.c runs Python.

   There are two programs of them where the fast start is built (snapshot/): the one with the
   interpreter and its snapshot, which is called `ocirun`, and the ordinary one beside it, which is
   then called COLD_NAME. The functions that differ say so. */

#ifndef OCIRUN_LAUNCHER_H
#define OCIRUN_LAUNCHER_H

#include <limits.h>
#include <stdbool.h>

#define COLD_NAME "ocirun-cold"
#define COLD_ARGUMENT "--cold-start=" /* then the reason; from the one to the other */

/* Where the launcher lives: its folder (absolute, borrowed by every callee) and its own name. */
struct origin {
    int dir_fd;
    char directory[PATH_MAX];
    char name[NAME_MAX + 1];
};

/* Print "ocirun: <sentence>" on stderr and exit with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Execute this program again from a file that cannot be written; argv is unchanged. */
_Noreturn void exec_sealed(const struct origin *origin, int argc, char **argv);

/* Return whether /proc/self/exe is a file that cannot be written. */
bool is_sealed(void);

/* If the arguments come from exec_sealed, take its word out of them and fill in the origin. */
bool take_origin(struct origin *origin, int *argc, char **argv);

/* Look for a snapshot to start from; without one become COLD_NAME. In the ordinary launcher: do
   nothing. */
void prepare_start(const struct origin *origin, int *argc, char **argv);

/* Called before this program is copied into a sealed memory file. The program with the interpreter
   is too large for that and becomes COLD_NAME; the ordinary launcher does nothing. */
void avoid_copy(const struct origin *origin, int argc, char **argv);

/* Start the interpreter this launcher was built for and hand over to ocirun.cli.launcher: from the
   snapshot, or the ordinary way. */
_Noreturn void run_python(const struct origin *origin, int argc, char **argv);

#endif
