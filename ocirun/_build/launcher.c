/* The `ocirun` command: what runs before Python does.
 *
 * 1. Drop the environment variables that steer an interpreter, the loader or the C library.
 * 2. Find out where this program is installed.
 * 3. See whether there is a snapshot to start from (snapshot/start.c), where that was built.
 * 4. For a verb that creates or joins a container: run again from a sealed file (seal.c).
 * 5. Embed the interpreter and hand over to ocirun.cli.launcher (embed.c).
 */

#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void fail(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("ocirun: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_among(const char *word, size_t length, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == length && memcmp(*words, word, length) == 0)
            return true;
    return false;
}

/* Remove what could make a privileged interpreter load or read something of the caller's choice.
   Returns true if the dynamic loader had already obeyed one of them when this program started.

   Security: the same list the C library drops for set-user-ID programs, and Python's own. What
   a runtime's callers do mean (PATH, NOTIFY_SOCKET, LISTEN_FDS, XDG_RUNTIME_DIR, …) stays. */
static bool clean_environment(void)
{
    static const char *const prefixes[] = {"PYTHON", "LD_", "MALLOC_", "MIMALLOC_", "MUSL_", NULL};
    static const char *const names[] = {
        "GCONV_PATH", "GETCONF_DIR", "GLIBC_TUNABLES", "HOSTALIASES", "LOCALDOMAIN", "LOCPATH",
        "NIS_PATH", "NLSPATH", "RESOLV_HOST_CONF", "RES_OPTIONS", "TZDIR", NULL};
    bool loader_steered = false;
    char **kept = environ;

    for (char **entry = environ; *entry; entry++) {
        bool steers = is_among(*entry, strcspn(*entry, "="), names);

        for (const char *const *prefix = prefixes; *prefix && !steers; prefix++)
            steers = starts_with(*entry, *prefix);
        if (steers)
            loader_steered |= starts_with(*entry, "LD_") || starts_with(*entry, "GLIBC_TUNABLES");
        else
            *kept++ = *entry;
    }
    *kept = NULL;
    return loader_steered;
}

/* Find this program's folder by /proc/self/exe, and make sure that its path leads here.

   Security: when a container makes us its entry point (`#!/proc/self/exe`), the path names a file
   of the image or nothing. Going on would load the image's idea of Python: stop instead. */
static void find_origin(struct origin *origin)
{
    char path[PATH_MAX];
    struct stat self, found;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    char *slash;

    if (length < 0 || stat("/proc/self/exe", &self) < 0)
        fail("reading /proc/self/exe: %s (is /proc mounted?)", strerror(errno));
    path[length] = '\0';
    if (self.st_mode & (S_ISUID | S_ISGID))
        fail("refusing to run set-user-ID or set-group-ID: %s", path);
    if (stat(path, &found) < 0 || found.st_dev != self.st_dev || found.st_ino != self.st_ino)
        fail("cannot tell where this program is installed: %s is not this program", path);

    slash = strrchr(path, '/');
    snprintf(origin->name, sizeof origin->name, "%s", slash + 1);
    slash[slash == path] = '\0';
    strcpy(origin->directory, path);
    origin->dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (origin->dir_fd < 0)
        fail("opening %s, the folder of this program: %s", path, strerror(errno));
}

/* Does the command line name a verb that creates or joins a container? Anything not known to be
   harmless does. Python checks again before it acts (security/executable.py): an error here makes
   a verb slower or refused, never unsafe. */
static bool needs_seal(char **argv)
{
    static const char *const valued[] = {"root", "log", "log-format", "log-level", "cgroup-manager",
                                         "rootless", "trace", "engine", "criu", NULL};
    static const char *const harmless[] = {
        "state", "start", "kill", "delete", "list", "ps", "pause", "resume", "update", "events",
        "spec", "features", "validate", "help", "version", "complete", "completion", "snapshot", NULL};

    for (argv++; *argv; argv++) {
        const char *word = *argv;

        if (word[0] != '-')
            return !is_among(word, strlen(word), harmless);
        word += word[1] == '-' ? 2 : 1;
        if (is_among(word, strlen(word), valued) && !*++argv)
            return false;
    }
    return false;
}

static void go_on(int signal_number)
{
    (void)signal_number;
}

int main(int argc, char **argv)
{
    struct origin origin;
    bool loader_steered, sealed;

    /* A write beyond RLIMIT_FSIZE is to fail with EFBIG, which becomes a message; by default the
       signal ends us without one. A handler: an ignored signal would stay ignored in hooks. */
    signal(SIGXFSZ, go_on);
    loader_steered = clean_environment();
    sealed = take_origin(&origin, &argc, argv);
    if (!sealed)
        find_origin(&origin);
    prepare_start(&origin, &argc, argv);
    if (!sealed) {
        if (needs_seal(argv))
            exec_sealed(&origin, argc, argv);
        if (loader_steered) {
            /* Security: the loader read LD_PRELOAD and its kin before main did. Once more, clean. */
            execve("/proc/self/exe", argv, environ);
            fail("starting again without LD_ variables: %s", strerror(errno));
        }
    }
    close(origin.dir_fd);
    run_python(&origin, argc, argv);
}
