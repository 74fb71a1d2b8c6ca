/* JSON text of Python's values, without spaces.
 *
 * Letters beyond ASCII stay as they are, half surrogates too: a path that is not UTF-8 is written so,
 * and `os.fsencode` gives its bytes back. Subclasses of int and float are written as their value.
 *
 * Source: RFC 8259.
 */

#include "json.h"

#include <stdbool.h>
#include <string.h>

struct writer {
    Py_UCS4 *text;
    Py_ssize_t length, room;
    int level;
};

static bool make_room(struct writer *writer, Py_ssize_t more)
{
    Py_UCS4 *text;
    Py_ssize_t room = writer->room;

    if (writer->length + more <= room)
        return true;
    while (room < writer->length + more)
        room = room ? room * 2 : 512;
    text = PyMem_Realloc(writer->text, (size_t)room * sizeof *text);
    if (!text) {
        PyErr_NoMemory();
        return false;
    }
    writer->text = text;
    writer->room = room;
    return true;
}

static bool put_ascii(struct writer *writer, const char *text)
{
    Py_ssize_t length = (Py_ssize_t)strlen(text);

    if (!make_room(writer, length))
        return false;
    for (Py_ssize_t i = 0; i < length; i++)
        writer->text[writer->length++] = (unsigned char)text[i];
    return true;
}

/* Write a string with its quotes; only what JSON wants escaped is. */
static bool put_string(struct writer *writer, PyObject *string)
{
    Py_ssize_t length;
    int kind;
    const void *data;

    if (PyUnicode_READY(string) < 0)
        return false;
    length = PyUnicode_GET_LENGTH(string);
    kind = PyUnicode_KIND(string);
    data = PyUnicode_DATA(string);
    if (length > PY_SSIZE_T_MAX / 32 || !make_room(writer, length * 6 + 2))
        return false;
    writer->text[writer->length++] = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        static const char letters[] = "\b\f\n\r\t\"\\", names[] = "bfnrt\"\\";
        Py_UCS4 character = PyUnicode_READ(kind, data, i);
        const char *letter;

        if (character >= 0x20 && character != '"' && character != '\\') {
            writer->text[writer->length++] = character;
            continue;
        }
        letter = character ? strchr(letters, (int)character) : NULL;
        writer->text[writer->length++] = '\\';
        if (letter) {
            writer->text[writer->length++] = (Py_UCS4)names[letter - letters];
        } else {
            for (const char *zero = "u00"; *zero; zero++)
                writer->text[writer->length++] = (Py_UCS4)*zero;
            writer->text[writer->length++] = '0' + (character >> 4);
            writer->text[writer->length++] = (Py_UCS4)"0123456789abcdef"[character & 15];
        }
    }
    writer->text[writer->length++] = '"';
    return true;
}

static bool put_value(struct writer *writer, PyObject *value);

static bool put_object(struct writer *writer, PyObject *object)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    const char *mark = "{";

    if (PyDict_GET_SIZE(object) == 0)
        return put_ascii(writer, "{}");
    while (PyDict_Next(object, &place, &name, &value)) {
        if (!PyUnicode_Check(name)) {
            PyErr_Format(PyExc_TypeError, "JSON has no member named %R", name);
            return false;
        }
        if (!put_ascii(writer, mark) || !put_string(writer, name) || !put_ascii(writer, ":") ||
            !put_value(writer, value))
            return false;
        mark = ",";
    }
    return put_ascii(writer, "}");
}

static bool put_array(struct writer *writer, PyObject *array)
{
    Py_ssize_t length = PySequence_Fast_GET_SIZE(array);

    if (!put_ascii(writer, "["))
        return false;
    for (Py_ssize_t i = 0; i < length; i++)
        if ((i > 0 && !put_ascii(writer, ",")) ||
            !put_value(writer, PySequence_Fast_GET_ITEM(array, i)))
            return false;
    return put_ascii(writer, "]");
}

/* Write an int or a float as Python does; infinities and NaN are not JSON. */
static bool put_number(struct writer *writer, PyObject *number)
{
    PyObject *text;
    const char *ascii;
    bool good;

    if (PyFloat_Check(number) && !Py_IS_FINITE(PyFloat_AS_DOUBLE(number))) {
        PyErr_SetString(PyExc_ValueError, "JSON has no infinity and no NaN");
        return false;
    }
    text = PyFloat_Check(number) ? PyFloat_Type.tp_repr(number) : PyLong_Type.tp_repr(number);
    ascii = text ? PyUnicode_AsUTF8(text) : NULL;
    good = ascii && put_ascii(writer, ascii);
    Py_XDECREF(text);
    return good;
}

static bool put_value(struct writer *writer, PyObject *value)
{
    bool good;

    if (PyUnicode_Check(value))
        return put_string(writer, value);
    if (value == Py_None || value == Py_True || value == Py_False)
        return put_ascii(writer, value == Py_None ? "null" : value == Py_True ? "true" : "false");
    if (PyLong_Check(value) || PyFloat_Check(value))
        return put_number(writer, value);
    if (++writer->level > 2 * MAX_DEPTH) {
        PyErr_SetString(PyExc_RecursionError, "nested too deeply for JSON");
        return false;
    }
    if (PyDict_Check(value)) {
        good = put_object(writer, value);
    } else if (PyList_Check(value) || PyTuple_Check(value)) {
        good = put_array(writer, value);
    } else {
        PyErr_Format(PyExc_TypeError, "JSON has nothing for %R", value);
        good = false;
    }
    writer->level--;
    return good;
}

PyObject *json_compact(PyObject *module, PyObject *value)
{
    struct writer writer = {NULL, 0, 0, 0};
    PyObject *result = NULL;

    (void)module;
    if (put_value(&writer, value))
        result = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, writer.text, writer.length);
    PyMem_Free(writer.text);
    return result;
}
