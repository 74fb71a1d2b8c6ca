/* Find the standard library, libpython and the ocirun package; nothing of Python runs here.
 *
 * The interpreter is looked for beside the virtual environment's home, below the launcher's own
 * prefix, and where it was when the launcher was built.
 */

#define _GNU_SOURCE
#include "layout.h"
#include "launcher.h"
#include "launcher_config.h" /* written by the build: PYTHON_SONAME, PYTHON_PREFIX, … */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Write "first/second" to `path` and say whether "first/second/inside" can be read. */
bool find_file(char *path, const char *first, const char *second, const char *inside)
{
    char probe[PATH_MAX];

    if (snprintf(path, PATH_MAX, "%s/%s", first, second) >= PATH_MAX ||
        snprintf(probe, PATH_MAX, "%s%s%s", path, inside[0] ? "/" : "", inside) >= PATH_MAX)
        return false;
    return access(probe, R_OK) == 0;
}

/* Replace the path by its parent folder. */
static void cut_last(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash)
        slash[slash == path] = '\0';
}

/* Read `home` of the virtual environment's pyvenv.cfg: the bin folder of the Python it is made of.

   Source: docs.python.org library/venv.html; PEP 405. */
static void read_venv(struct layout *layout)
{
    char path[PATH_MAX], line[PATH_MAX + 16];
    FILE *file;

    if (!find_file(path, layout->own_prefix, "pyvenv.cfg", ""))
        return;
    layout->in_venv = true;
    file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        char *value = strchr(line, '=');
        size_t key = strcspn(line, " \t=");

        if (!value)
            continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\r\n")] = '\0';
        if (key == 4 && strncmp(line, "home", 4) == 0 && value[0] == '/') {
            snprintf(layout->home_prefix, sizeof layout->home_prefix, "%s", value);
            cut_last(layout->home_prefix);
        } else if (strncmp(line, "include-system-site-packages", key) == 0 && key > 20 &&
                   strcasecmp(value, "true") == 0) {
            layout->in_venv = false;
        }
    }
    if (file)
        fclose(file);
}

/* Is there the standard library, and its libpython, below `prefix`? */
static bool find_python_below(struct layout *layout, const char *prefix)
{
    static const char *const folders[] = {PYTHON_LIBDIR_BELOW, "lib", "lib64",
                                          "lib/" PYTHON_MULTIARCH, NULL};

    if (!prefix[0] || !find_file(layout->stdlib, prefix, PYTHON_STDLIB_BELOW, "os.py"))
        return false;
    find_file(layout->dynload, prefix, PYTHON_DYNLOAD_BELOW, "");
    snprintf(layout->prefix, sizeof layout->prefix, "%s", prefix);
    for (const char *const *folder = folders; *folder; folder++) {
        char name[PATH_MAX];

        snprintf(name, sizeof name, "%s/" PYTHON_SONAME, *folder);
        if (find_file(layout->library, prefix, name, ""))
            return true;
    }
    layout->library[0] = '\0';
    return false;
}

static void find_python(struct layout *layout)
{
    const char *prefixes[] = {layout->home_prefix, layout->own_prefix, PYTHON_PREFIX};
    const char *with_stdlib = NULL;

    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        layout->stdlib[0] = layout->prefix[0] = '\0';
        if (find_python_below(layout, prefixes[i]))
            return;
        if (layout->prefix[0] && !with_stdlib)
            with_stdlib = prefixes[i];
    }
    if (!with_stdlib)
        fail("cannot find the standard library of " PYTHON_NAME ": no " PYTHON_STDLIB_BELOW
             "/os.py below %s%s%s or " PYTHON_PREFIX,
             layout->home_prefix, layout->home_prefix[0] ? ", " : "", layout->own_prefix);
    /* Its library may still be in a folder that only the loader's own search knows. */
    find_python_below(layout, with_stdlib);
}

const char *const package_folders[] = {
    "lib/" PYTHON_NAME "/site-packages", "lib64/" PYTHON_NAME "/site-packages",
    "lib/" PYTHON_NAME "/dist-packages", "local/lib/" PYTHON_NAME "/dist-packages",
    "lib/python3/dist-packages", NULL};

static void find_package(struct layout *layout, const struct origin *origin)
{
    for (const char *const *folder = package_folders; *folder; folder++)
        if (find_file(layout->package, layout->own_prefix, *folder, "ocirun/errors.py"))
            return;
    fail("cannot find the ocirun package that belongs to %s/%s: no ocirun/errors.py in %s/lib/"
         PYTHON_NAME "/site-packages or its like", origin->directory, origin->name,
         layout->own_prefix);
}

void find_layout(struct layout *layout, const struct origin *origin)
{
    memset(layout, 0, sizeof *layout);
    strcpy(layout->own_prefix, origin->directory);
    cut_last(layout->own_prefix);
    read_venv(layout);
    find_python(layout);
    find_package(layout, origin);
}
