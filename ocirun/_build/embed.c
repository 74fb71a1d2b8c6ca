/* Start the interpreter on the ocirun package, both found by layout.c.
 *
 * In the ordinary launcher the interpreter is not linked but loaded: a library that is missing gets
 * a sentence instead of the loader's. The launcher that starts from a snapshot has the interpreter
 * linked in (PYTHON_LINKED) and comes here only to make the snapshot.
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

#include "embed.h"
#include "frozen.h"

#ifdef ONE_FILE
#include "onefile/onefile.h"
#endif
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
} py
#ifdef PYTHON_LINKED
#define CALL(name) .name = &name,
    = {PYTHON_CALLS(CALL)}
#undef CALL
#endif
;

#ifndef PYTHON_LINKED
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
#endif

#ifdef PYTHON_LINKED
PyMODINIT_FUNC PyInit__ocirun_calls(void); /* written by linked.py */
PyMODINIT_FUNC PyInit__ocirun_json(void);  /* json.c */

void offer_linked_modules(void)
{
    if (PyImport_AppendInittab("_ocirun_calls", PyInit__ocirun_calls) < 0 ||
        PyImport_AppendInittab("_ocirun_json", PyInit__ocirun_json) < 0)
        fail("starting the Python interpreter: not enough memory");
#ifdef ONE_FILE
    if (PyImport_AppendInittab("_ocirun_archive", PyInit__ocirun_archive) < 0)
        fail("starting the Python interpreter: not enough memory");
#endif
}
#endif

/* Let the interpreter find our modules in this program, if they are those of the package.

   No folder is listed and no file opened for them then. Otherwise all is found by path. */
static void offer_frozen_modules(const struct layout *layout)
{
#ifdef ONE_FILE
    (void)layout;
    *py.PyImport_FrozenModules = frozen_modules;
#else
    char path[PATH_MAX], found[64] = "";
    FILE *file = NULL;

    if (find_file(path, layout->package, "ocirun/frozen.id", ""))
        file = fopen(path, "re");
    if (file && fgets(found, sizeof found, file) && strcmp(found, frozen_id) == 0)
        *py.PyImport_FrozenModules = frozen_modules;
    if (file)
        fclose(file);
#endif
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

static void append(PyWideStringList *list, const char *word)
{
    wchar_t *decoded = py.Py_DecodeLocale(word, NULL);

    if (!decoded)
        fail("starting the Python interpreter: not enough memory");
    check(py.PyWideStringList_Append(list, decoded));
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
#ifdef ONE_FILE
    return; /* modules are frozen, or in the archive */
#endif
    /* Extensions first: the hot modules of the library are frozen, its extensions are not, and the
       folder of the library is a long one to list. freeze.py knows this order. */
    append(&config->module_search_paths, layout->dynload);
    append(&config->module_search_paths, layout->stdlib);
    append(&config->module_search_paths, layout->package);
    if (layout->in_venv)
        return;
    /* Outside a venv, what ocirun depends on may be installed where the interpreter's packages
       are, or the distribution's. */
    for (const char *const *folder = package_folders; *folder; folder++)
        if (find_file(path, layout->prefix, *folder, "") && strcmp(path, layout->package) != 0)
            append(&config->module_search_paths, path);
}

void start_python(const struct layout *layout, const struct origin *origin,
                  const char *cold_reason, int argc, char **argv)
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
    if (cold_reason && cold_reason[0]) { /* for sys._xoptions */
        char option[300];

        snprintf(option, sizeof option, "cold-start=%s", cold_reason);
        append(&config.xoptions, option);
    }
#ifdef ONE_FILE
    if (!cold_reason) { /* for an image that is the same in each build: the secret of string hashes */
        config.use_hash_seed = 1;
        config.hash_seed = 1;
    }
#endif
    check(py.Py_InitializeFromConfig(&config));
#ifdef ONE_FILE
    open_archive();
#endif
    py.PyGC_Disable(); /* a verb lives for milliseconds: what it drops is returned with the process */
}

/* What the pending exception says, in one line. */
const char *exception_text(void)
{
    PyObject *type = NULL, *value = NULL, *trace = NULL, *text;
    const char *words;

    py.PyErr_Fetch(&type, &value, &trace);
    text = value ? py.PyObject_Str(value) : NULL;
    words = text ? py.PyUnicode_AsUTF8AndSize(text, NULL) : NULL;
    return words ? words : "it gave no reason";
}

#ifndef PYTHON_LINKED
void prepare_start(const struct origin *origin, int *argc, char **argv)
{
    (void)origin, (void)argc, (void)argv;
}

void avoid_copy(const struct origin *origin, int argc, char **argv)
{
    (void)origin, (void)argc, (void)argv;
}

/* Take the word of the launcher that could not start from a snapshot out of the arguments; return
   what it says, NULL without one. Only `--debug` and `doctor` repeat it: nothing depends on it. */
static const char *take_reason(int *argc, char **argv)
{
    const char *reason;

    if (*argc < 2 || strncmp(argv[1], COLD_ARGUMENT, strlen(COLD_ARGUMENT)) != 0)
        return NULL;
    reason = argv[1] + strlen(COLD_ARGUMENT);
    memmove(argv + 1, argv + 2, (size_t)(*argc - 1) * sizeof *argv);
    *argc -= 1;
    return reason;
}

void run_python(const struct origin *origin, int argc, char **argv)
{
    static struct layout layout;
    PyObject *module, *function;
    const char *cold_reason = take_reason(&argc, argv);

    if (!cold_reason)
        cold_reason = NO_FAST_START;
    find_layout(&layout, origin);
    load_library(&layout);
    start_python(&layout, origin, cold_reason, argc, argv);

    module = py.PyImport_ImportModule("ocirun.cli.launcher");
    function = module ? py.PyObject_GetAttrString(module, "main") : NULL;
    if (!function)
        fail("loading ocirun from %s: %s", layout.package, exception_text());
    if (!py.PyObject_CallNoArgs(function))
        fail("stopping, not even able to report it properly: %s", exception_text());
    fail("stopping because ocirun.cli.launcher came back, which is a bug of ocirun");
}
#endif
