/* `ocirun.spec._json`: JSON that is right, read fast; json_write.c writes it.
 *
 * Reading says yes or no: whatever is not one well-formed document in which each name stands once in
 * its object raises ValueError without a reason, and `ocirun.spec.json_errors` reads it again with
 * the standard library to find one. So nothing here has to explain, and nothing depends on agreeing
 * with the standard library about what is wrong, only about what is right.
 *
 * Python's own `_json` is a shared object in most builds, and a snapshot of the interpreter
 * (snapshot/) cannot hold one: this module can be linked into the launcher as well.
 *
 * Security: config.json comes from the image's builder. Each read is bounded by `end`; recursion by
 * MAX_DEPTH; memory by the document's length, which jsontext.py limits.
 *
 * Source: RFC 8259.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "json.h"

#include <stdbool.h>
#include <string.h>

#ifdef PYTHON_LINKED /* a top-level module of its own: builtin modules have no package */
#define JSON_NAME "_ocirun_json"
#define JSON_INIT PyInit__ocirun_json
#else
#define JSON_NAME "_json"
#define JSON_INIT PyInit__json
#endif

#define MAX_DIGITS 18 /* a number with so many is surely a long long */

struct reader {
    const char *next, *end;
    const char *errors; /* what to do with bytes that are not UTF-8 */
};

/* The exception is made once: it says nothing, and a reason is looked for elsewhere. */
static PyObject *refuse(void)
{
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "not one JSON document");
    return NULL;
}

static void skip_space(struct reader *reader)
{
    while (reader->next < reader->end && (*reader->next == ' ' || *reader->next == '\n' ||
                                          *reader->next == '\t' || *reader->next == '\r'))
        reader->next++;
}

/* Is `character` next, white space apart? It is taken then. */
static bool take(struct reader *reader, char character)
{
    skip_space(reader);
    if (reader->next == reader->end || *reader->next != character)
        return false;
    reader->next++;
    return true;
}

static bool take_word(struct reader *reader, const char *word)
{
    size_t length = strlen(word);

    if ((size_t)(reader->end - reader->next) < length || memcmp(reader->next, word, length) != 0)
        return false;
    reader->next += length;
    return true;
}

/* Read the four digits of \uXXXX; -1 when they are not that. */
static int read_hex(struct reader *reader)
{
    int value = 0;

    if (reader->end - reader->next < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char digit = *reader->next++;

        if (digit >= '0' && digit <= '9')
            value = value * 16 + digit - '0';
        else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f')
            value = value * 16 + (digit | 0x20) - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* Write the character as UTF-8, at most four bytes; returns their number. */
static int put_utf8(char *to, int character)
{
    if (character < 0x80) {
        to[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        to[0] = (char)(0xC0 | character >> 6);
        to[1] = (char)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        to[0] = (char)(0xE0 | character >> 12);
        to[1] = (char)(0x80 | (character >> 6 & 0x3F));
        to[2] = (char)(0x80 | (character & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | character >> 18);
    to[1] = (char)(0x80 | (character >> 12 & 0x3F));
    to[2] = (char)(0x80 | (character >> 6 & 0x3F));
    to[3] = (char)(0x80 | (character & 0x3F));
    return 4;
}

/* Read what follows a backslash; returns the bytes written, 0 to refuse. NUL, which would end a C
   string early, and half a surrogate pair, which no encoding has, are refused. */
static int read_escape(struct reader *reader, char *to)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    int character, low;

    if (reader->next == reader->end || *reader->next == '\0')
        return 0;
    letter = strchr(letters, *reader->next);
    if (letter) {
        reader->next++;
        *to = meanings[letter - letters];
        return 1;
    }
    if (*reader->next++ != 'u')
        return 0;
    character = read_hex(reader);
    if (character <= 0 || (character >= 0xDC00 && character <= 0xDFFF))
        return 0;
    if (character >= 0xD800 && character <= 0xDBFF) {
        if (!take_word(reader, "\\u"))
            return 0;
        low = read_hex(reader);
        if (low < 0xDC00 || low > 0xDFFF)
            return 0;
        character = 0x10000 + ((character - 0xD800) << 10) + (low - 0xDC00);
    }
    return put_utf8(to, character);
}

/* Read a string whose opening quote is taken. */
static PyObject *read_string(struct reader *reader)
{
    const char *start = reader->next;
    char *text, *to;
    PyObject *result;

    while (reader->next < reader->end && *reader->next != '"' && *reader->next != '\\' &&
           (unsigned char)*reader->next >= 0x20)
        reader->next++;
    if (reader->next == reader->end)
        return refuse();
    if (*reader->next == '"')
        return PyUnicode_DecodeUTF8(start, reader->next++ - start, reader->errors);

    /* With escapes: never longer than the text that stands for it. */
    text = PyMem_Malloc((size_t)(reader->end - start));
    if (!text)
        return PyErr_NoMemory();
    memcpy(text, start, (size_t)(reader->next - start));
    to = text + (reader->next - start);
    while (reader->next < reader->end && *reader->next != '"' &&
           (unsigned char)*reader->next >= 0x20) {
        if (*reader->next != '\\') {
            *to++ = *reader->next++;
            continue;
        }
        reader->next++;
        int written = read_escape(reader, to);
        if (written == 0) {
            PyMem_Free(text);
            return refuse();
        }
        to += written;
    }
    if (reader->next == reader->end || *reader->next != '"') {
        PyMem_Free(text);
        return refuse();
    }
    reader->next++;
    result = PyUnicode_DecodeUTF8(text, to - text, reader->errors);
    PyMem_Free(text);
    return result;
}

static void skip_digits(struct reader *reader)
{
    while (reader->next < reader->end && *reader->next >= '0' && *reader->next <= '9')
        reader->next++;
}

/* Read a number: `-? (0 | [1-9][0-9]*) (\. [0-9]+)? ([eE] [+-]? [0-9]+)?`. */
static PyObject *read_number(struct reader *reader)
{
    const char *start = reader->next, *digits, *part;
    bool negative = *start == '-', fraction = false;
    PyObject *text, *result;

    reader->next += negative;
    digits = reader->next;
    skip_digits(reader);
    if (reader->next == digits || (*digits == '0' && reader->next > digits + 1))
        return refuse();
    if (reader->next - digits <= MAX_DIGITS &&
        (reader->next == reader->end || !strchr(".eE", *reader->next) || !*reader->next)) {
        long long value = 0;

        for (; digits < reader->next; digits++)
            value = value * 10 + *digits - '0';
        return PyLong_FromLongLong(negative ? -value : value);
    }
    if (reader->next < reader->end && *reader->next == '.') {
        fraction = true;
        part = ++reader->next;
        skip_digits(reader);
        if (reader->next == part)
            return refuse();
    }
    if (reader->next < reader->end && (*reader->next | 0x20) == 'e') {
        fraction = true;
        reader->next++;
        if (reader->next < reader->end && (*reader->next == '+' || *reader->next == '-'))
            reader->next++;
        part = reader->next;
        skip_digits(reader);
        if (reader->next == part)
            return refuse();
    }
    text = PyUnicode_DecodeASCII(start, reader->next - start, NULL);
    if (!text)
        return NULL;
    result = fraction ? PyFloat_FromString(text) : PyLong_FromUnicodeObject(text, 10);
    Py_DECREF(text);
    return result;
}

static PyObject *read_value(struct reader *reader, int level);

/* Read an array whose opening bracket is taken. */
static PyObject *read_array(struct reader *reader, int level)
{
    PyObject *array = PyList_New(0);

    if (!array || take(reader, ']'))
        return array;
    do {
        PyObject *item = read_value(reader, level + 1);

        if (!item || PyList_Append(array, item) < 0) {
            Py_XDECREF(item);
            Py_DECREF(array);
            return NULL;
        }
        Py_DECREF(item);
    } while (take(reader, ','));
    if (!take(reader, ']')) {
        Py_DECREF(array);
        return refuse();
    }
    return array;
}

/* Read one member into the object; false to refuse, as when the name is there already. */
static bool read_member(struct reader *reader, PyObject *object, int level)
{
    PyObject *name, *value = NULL;
    Py_ssize_t count = PyDict_GET_SIZE(object);
    bool good = false;

    if (!take(reader, '"'))
        return false;
    name = read_string(reader);
    if (!name)
        return false;
    PyUnicode_InternInPlace(&name); /* the code looks for it under an interned name */
    if (take(reader, ':'))
        value = read_value(reader, level + 1);
    if (value)
        good = PyDict_SetItem(object, name, value) == 0 && PyDict_GET_SIZE(object) == count + 1;
    Py_DECREF(name);
    Py_XDECREF(value);
    return good;
}

/* Read an object whose opening brace is taken. */
static PyObject *read_object(struct reader *reader, int level)
{
    PyObject *object = PyDict_New();

    if (!object || take(reader, '}'))
        return object;
    do {
        if (!read_member(reader, object, level)) {
            Py_DECREF(object);
            return refuse();
        }
    } while (take(reader, ','));
    if (!take(reader, '}')) {
        Py_DECREF(object);
        return refuse();
    }
    return object;
}

static PyObject *read_value(struct reader *reader, int level)
{
    skip_space(reader);
    if (level > MAX_DEPTH || reader->next == reader->end)
        return refuse();
    switch (*reader->next) {
    case '{':
        reader->next++;
        return read_object(reader, level);
    case '[':
        reader->next++;
        return read_array(reader, level);
    case '"':
        reader->next++;
        return read_string(reader);
    case 't':
        return take_word(reader, "true") ? Py_NewRef(Py_True) : refuse();
    case 'f':
        return take_word(reader, "false") ? Py_NewRef(Py_False) : refuse();
    case 'n':
        return take_word(reader, "null") ? Py_NewRef(Py_None) : refuse();
    default:
        return read_number(reader);
    }
}

static PyObject *parse(PyObject *module, PyObject *arguments)
{
    struct reader reader;
    Py_ssize_t length;
    PyObject *value;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#s", &reader.next, &length, &reader.errors))
        return NULL;
    reader.end = reader.next + length;
    value = read_value(&reader, 1);
    skip_space(&reader);
    if (value && reader.next != reader.end) {
        Py_DECREF(value);
        return refuse();
    }
    return value;
}

static PyMethodDef methods[] = {
    {"parse", parse, METH_VARARGS,
     "parse(data, errors, /)\n--\n\nReturn the value of one JSON document, bytes of UTF-8.\n\n"
     "`errors` is \"strict\" or \"surrogateescape\". Raises ValueError, which gives no reason."},
    {"compact", json_compact, METH_O,
     "compact(value, /)\n--\n\nReturn `value` as JSON without spaces, in Unicode."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, JSON_NAME, "Reading and writing JSON.", 0, methods,
    NULL, NULL, NULL, NULL};

PyMODINIT_FUNC JSON_INIT(void);

PyMODINIT_FUNC JSON_INIT(void)
{
    return PyModule_Create(&definition);
}
