/* Find the interpreter and the ocirun package, start the one with the other.
 *
 * The interpreter is not linked but loaded: its shared library is looked for beside the virtual
 * environment's home, below the launcher's own prefix, and where it was when the launcher was
 * built. One that is missing gets a sentence instead of the loader's.
 *
 * The configuration is Python's "isolated" one, without `site`: no environment variable, no user
 * folder, no .pth file decides what a privileged runtime imports. Every path is given, so that
 * Python looks for nothing itself.
 *
 * Source: docs.python.org c-api/init_config.html.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "frozen.h"
#include "launcher.h"
#include "launcher_config.h" /* written by the build: PYTHON_SONAME, PYTHON_PREFIX, … */

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is called in libpython, with the types its headers give; filled in by load_library. */
#define PYTHON_CALLS(CALL)                                                                        \
    CALL(Py_GetVersion)                                                                           \
    CALL(PyPreConfig_InitIsolatedConfig)                                                          \
    CALL(Py_PreInitialize)                                                                        \
    CALL(PyConfig_InitIsolatedConfig)                                                             \
    CALL(PyConfig_SetBytesArgv)                                                                   \
    CALL(PyConfig_SetBytesString)                                                                 \
    CALL(Py_DecodeLocale)                                                                         \
    CALL(PyWideStringList_Append)                                                                 \
    CALL(PyStatus_Exception)                                                                      \
    CALL(PyImport_FrozenModules)                                                                  \
    CALL(Py_InitializeFromConfig)                                                                 \
    CALL(PyGC_Disable)                                                                            \
    CALL(PyImport_ImportModule)                                                                   \
    CALL(PyObject_GetAttrString)                                                                  \
    CALL(PyObject_CallNoArgs)                                                                     \
    CALL(PyErr_Fetch)                                                                             \
    CALL(PyObject_Str)                                                                            \
    CALL(PyUnicode_AsUTF8AndSize)

#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* PyErr_Fetch: its successor is 3.12 */
static struct {
#define CALL(name) __typeof__(name) *name;
    PYTHON_CALLS(CALL)
#undef CALL
} py;

/* Where things are; absolute paths, "" where there is none. */
struct layout {
    char own_prefix[PATH_MAX];  /* the launcher's: the parent of its bin folder */
    char home_prefix[PATH_MAX]; /* of the Python that the venv was made from */
    bool in_venv;               /* and packages outside it do not count */
    char prefix[PATH_MAX];      /* of the interpreter */
    char library[PATH_MAX]; /* "" leaves the search to the loader */
    char stdlib[PATH_MAX];
    char dynload[PATH_MAX];
    char package[PATH_MAX]; /* the folder that holds ocirun/ */
};

/* Write "first/second" to `path` and say whether "first/second/inside" can be read. */
static bool find_file(char *path, const char *first, const char *second, const char *inside)
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

static const char *const package_folders[] = {
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

static void load_library(const struct layout *layout)
{
    /* Lazy: a quarter of a millisecond less, and nothing but memory is read when a call is first
       made. Global: extension modules find the interpreter's functions here. */
    const char *path = layout->library[0] ? layout->library : PYTHON_SONAME;
    void *library = dlopen(path, RTLD_LAZY | RTLD_GLOBAL);

    if (!library)
        fail("loading the Python interpreter: %s (looked below %s first; on Debian and Ubuntu the "
             "package lib" PYTHON_NAME " has it)", dlerror(), layout->prefix);
#define CALL(name)                                                                                \
    *(void **)&py.name = dlsym(library, #name);                                                   \
    if (!py.name)                                                                                 \
        fail("loading the Python interpreter: %s has no " #name, path);
    PYTHON_CALLS(CALL)
#undef CALL
    if (strncmp(py.Py_GetVersion(), PYTHON_VERSION ".", strlen(PYTHON_VERSION ".")) != 0)
        fail("%s is Python %.8s, but this ocirun was built for " PYTHON_VERSION, path,
             py.Py_GetVersion());
}

/* Let the interpreter find our modules in this program, if they are those of the package.

   No folder is listed and no file opened for them then. Otherwise all is found by path. */
static void offer_frozen_modules(const struct layout *layout)
{
    char path[PATH_MAX], found[64] = "";
    FILE *file = NULL;

    if (find_file(path, layout->package, "ocirun/frozen.id", ""))
        file = fopen(path, "re");
    if (file && fgets(found, sizeof found, file) && strcmp(found, frozen_id) == 0)
        *py.PyImport_FrozenModules = frozen_modules;
    if (file)
        fclose(file);
}

static void check(PyStatus status)
{
    if (py.PyStatus_Exception(status))
        fail("starting the Python interpreter: %s", status.err_msg ? status.err_msg : "it refused");
}

static void set_string(PyConfig *config, wchar_t **field, const char *value)
{
    check(py.PyConfig_SetBytesString(config, field, value));
}

static void add_search_path(PyConfig *config, const char *path)
{
    wchar_t *decoded = py.Py_DecodeLocale(path, NULL);

    if (!decoded)
        fail("starting the Python interpreter: not enough memory");
    check(py.PyWideStringList_Append(&config->module_search_paths, decoded));
}

/* Name every folder modules may come from, and all that getpath would look for otherwise. */
static void set_paths(PyConfig *config, const struct layout *layout, const struct origin *origin)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", origin->directory, origin->name) >= PATH_MAX)
        fail("the path of this program is too long");
    set_string(config, &config->program_name, path);
    set_string(config, &config->executable, path);
    set_string(config, &config->base_executable, path);
    set_string(config, &config->prefix, layout->own_prefix);
    set_string(config, &config->exec_prefix, layout->own_prefix);
    set_string(config, &config->base_prefix, layout->prefix);
    set_string(config, &config->base_exec_prefix, layout->prefix);
    set_string(config, &config->stdlib_dir, layout->stdlib);
    /* With a home, getpath does not look for pyvenv.cfg and pybuilddir.txt, of which we have no
       use. Where it cannot open them (EMFILE), it prints a traceback. */
    set_string(config, &config->home, layout->prefix);

    config->module_search_paths_set = 1;
    /* Extensions first: the hot modules of the library are frozen, its extensions are not, and the
       folder of the library is a long one to list. freeze.py knows this order. */
    add_search_path(config, layout->dynload);
    add_search_path(config, layout->stdlib);
    add_search_path(config, layout->package);
    if (layout->in_venv)
        return;
    /* Outside a venv, what ocirun depends on may be installed where the interpreter's packages
       are, or the distribution's. */
    for (const char *const *folder = package_folders; *folder; folder++)
        if (find_file(path, layout->prefix, *folder, "") && strcmp(path, layout->package) != 0)
            add_search_path(config, path);
}

static void start_python(const struct layout *layout, const struct origin *origin, int argc,
                         char **argv)
{
    PyPreConfig before;
    PyConfig config;

    py.PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1; /* paths, arguments and environment: bytes, by surrogateescape */
    before.configure_locale = 0;
    check(py.Py_PreInitialize(&before));
    offer_frozen_modules(layout);

    py.PyConfig_InitIsolatedConfig(&config);
    config.parse_argv = 0;
    config.site_import = 0;
    config.write_bytecode = 0;
    config.install_signal_handlers = 0; /* SIGPIPE and SIGINT stay as the caller left them */
    check(py.PyConfig_SetBytesArgv(&config, argc, argv));
    set_paths(&config, layout, origin);
    check(py.Py_InitializeFromConfig(&config));
    py.PyGC_Disable(); /* a verb lives for milliseconds: what it drops is returned with the process */
}

/* What the pending exception says, in one line. */
static const char *exception_text(void)
{
    PyObject *type = NULL, *value = NULL, *trace = NULL, *text;
    const char *words;

    py.PyErr_Fetch(&type, &value, &trace);
    text = value ? py.PyObject_Str(value) : NULL;
    words = text ? py.PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    return words ? words : "it gave no reason";
}

void run_python(const struct origin *origin, int argc, char **argv)
{
    static struct layout layout;
    PyObject *module, *function;

    strcpy(layout.own_prefix, origin->directory);
    cut_last(layout.own_prefix);
    read_venv(&layout);
    find_python(&layout);
    find_package(&layout, origin);
    load_library(&layout);
    start_python(&layout, origin, argc, argv);

    module = py.PyImport_ImportModule("ocirun.cli.launcher");
    function = module ? py.PyObject_GetAttrString(module, "main") : NULL;
    if (!function)
        fail("loading ocirun from %s: %s", layout.package, exception_text());
    if (!py.PyObject_CallNoArgs(function))
        fail("stopping, not even able to report it properly: %s", exception_text());
    fail("stopping because ocirun.cli.launcher came back, which is a bug of ocirun");
}
