/* The leaf loops of the hot path in C: heads of HTTP/1.x, frames of WebSocket.

   Twin of pure.py, which documents each function and owns the tables of names: this module copies
   them when it is imported. Leaves only: no I/O, nothing global, no calls into Python code but to
   iterate the header pairs of serialize_head. All state belongs to the module object, and is not
   written after its creation, so interpreters and threads may share the code. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

/* --- octets ---------------------------------------------------------------------------------- */

/* RFC 9110 §5.6.2: tchar. */
static const uint8_t TOKEN[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
    ['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
    ['0'] = 1, ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1, ['5'] = 1, ['6'] = 1, ['7'] = 1,
    ['8'] = 1, ['9'] = 1,
    ['A'] = 1, ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1, ['F'] = 1, ['G'] = 1, ['H'] = 1,
    ['I'] = 1, ['J'] = 1, ['K'] = 1, ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1, ['P'] = 1,
    ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1, ['V'] = 1, ['W'] = 1, ['X'] = 1,
    ['Y'] = 1, ['Z'] = 1,
    ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1, ['f'] = 1, ['g'] = 1, ['h'] = 1,
    ['i'] = 1, ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1, ['p'] = 1,
    ['q'] = 1, ['r'] = 1, ['s'] = 1, ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1,
    ['y'] = 1, ['z'] = 1,
};

#define REPEAT(octet) (UINT64_C(0x0101010101010101) * (octet))

/* Whether one of eight octets is something else than 0x20-0x7e. */
static inline int
any_unusual(uint64_t word)
{
    uint64_t is_delete = word ^ REPEAT(0x7f);
    uint64_t below_space = (word - REPEAT(0x20)) & ~word;
    return ((below_space | ((is_delete - REPEAT(0x01)) & ~is_delete) | word) & REPEAT(0x80)) != 0;
}

/* The first octet of a text that is neither TAB nor 0x20-0x7e nor 0x80-0xff, or `end`.
   RFC 9110 §5.5: field content. `*high` becomes 1 if an octet above 0x7f was passed. */
static const uint8_t *
skip_text(const uint8_t *p, const uint8_t *end, int *high)
{
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        if (any_unusual(word)) {
            break;
        }
        p += 8;
    }
    for (; p < end; p++) {
        uint8_t c = *p;
        if (c >= 0x80) {
            *high = 1;
        }
        else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            break;
        }
    }
    return p;
}

static inline int
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* The text without the blanks around it, as a str. */
static PyObject *
text_to_str(const uint8_t *start, const uint8_t *end, int high)
{
    while (start < end && is_blank(*start)) {
        start++;
    }
    while (end > start && is_blank(end[-1])) {
        end--;
    }
    if (high) {
        return PyUnicode_DecodeUTF8((const char *)start, end - start, "surrogateescape");
    }
    PyObject *text = PyUnicode_New(end - start, 127);
    if (text != NULL && end > start) {
        memcpy(PyUnicode_1BYTE_DATA(text), start, (size_t)(end - start));
    }
    return text;
}

/* --- names that are known -------------------------------------------------------------------- */

enum { RESPONSE = 0, REQUEST = 1 };

typedef struct {
    const uint8_t *octets; /* of `name` */
    Py_ssize_t size;
    PyObject *name;
    PyObject *key[2]; /* the lower-case name, if special in a response or request, else NULL */
} known_name;

#define TABLE_SIZE 1024 /* a power of two, several times the number of names */
#define METHODS 9
#define LONGEST_SPECIAL 32

typedef struct {
    known_name table[TABLE_SIZE];
    Py_ssize_t count;
    PyObject *methods[METHODS];
} module_state;

static const char *const METHOD_NAMES[METHODS] = {
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
};

/* Of the first and last octets only: names come from a fixed list, so nobody can make collisions. */
static inline size_t
hash_name(const uint8_t *name, Py_ssize_t size)
{
    uint32_t first = 0, last = 0;
    if (size >= 4) {
        memcpy(&first, name, 4);
        memcpy(&last, name + size - 4, 4);
    }
    else {
        for (Py_ssize_t i = 0; i < size; i++) {
            first = first << 8 | name[i];
        }
    }
    uint64_t mixed = ((uint64_t)first << 32 | last) + (uint64_t)size * UINT64_C(0x9e3779b97f4a7c15);
    mixed *= UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(mixed >> 40) & (TABLE_SIZE - 1);
}

/* The entry of a name, or the free entry where it would go. The table is never full. */
static inline known_name *
find_name(module_state *state, const uint8_t *name, Py_ssize_t size)
{
    size_t slot = hash_name(name, size);
    for (;;) {
        known_name *entry = &state->table[slot];
        if (entry->name == NULL ||
            (entry->size == size && memcmp(entry->octets, name, (size_t)size) == 0)) {
            return entry;
        }
        slot = (slot + 1) & (TABLE_SIZE - 1);
    }
}

/* The key of a name that is not spelt as in the table, if it is special; a borrowed reference. */
static PyObject *
special_key(module_state *state, const uint8_t *name, Py_ssize_t size, int kind)
{
    uint8_t lower[LONGEST_SPECIAL];
    if (size > LONGEST_SPECIAL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
    }
    return find_name(state, lower, size)->key[kind];
}

/* Whether a name is that of a special field but for underscores in the place of hyphens. */
static int
is_twin(module_state *state, const uint8_t *name, Py_ssize_t size, int kind)
{
    uint8_t lower[LONGEST_SPECIAL];
    if (size > LONGEST_SPECIAL || memchr(name, '_', (size_t)size) == NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        lower[i] = name[i] == '_' ? '-' : name[i];
    }
    return special_key(state, lower, size, kind) != NULL;
}

/* --- scanning -------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *position;
    const uint8_t *end;
    Py_ssize_t max_line;
    Py_ssize_t max_field;
    Py_ssize_t max_fields;
} head_scan;

enum { FAILED = -1, IRREGULAR = 0, SCANNED = 1 };

/* Whether CRLF is at `p`. */
static inline int
at_line_end(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 2 && p[0] == '\r' && p[1] == '\n';
}

static int
add_special(PyObject *special, PyObject *key, PyObject *value)
{
    PyObject *before = PyDict_GetItemWithError(special, key);
    if (before == NULL) {
        return PyErr_Occurred() ? -1 : PyDict_SetItem(special, key, value);
    }
    if (PyList_CheckExact(before)) {
        return PyList_Append(before, value);
    }
    PyObject *values = PyList_New(2);
    if (values == NULL) {
        return -1;
    }
    PyList_SET_ITEM(values, 0, Py_NewRef(before));
    PyList_SET_ITEM(values, 1, Py_NewRef(value));
    int result = PyDict_SetItem(special, key, values);
    Py_DECREF(values);
    return result;
}

static int
add_field(PyObject *fields, PyObject *name, PyObject *value)
{
    PyObject *pair = PyTuple_New(2);
    if (pair == NULL) {
        return -1;
    }
    PyTuple_SET_ITEM(pair, 0, Py_NewRef(name));
    PyTuple_SET_ITEM(pair, 1, Py_NewRef(value));
    int result = PyList_Append(fields, pair);
    Py_DECREF(pair);
    return result;
}

/* One field line (RFC 9112 §5); `scan->position` moves behind it. */
static int
scan_field(module_state *state, head_scan *scan, int kind, PyObject *fields, PyObject *special)
{
    const uint8_t *start = scan->position, *end = scan->end, *p = start;
    while (p < end && TOKEN[*p]) {
        p++;
    }
    Py_ssize_t size = p - start;
    if (p == end || *p != ':' || size == 0) {
        return IRREGULAR;
    }
    const uint8_t *text = p + 1;
    int high = 0;
    p = skip_text(text, end, &high);
    if (!at_line_end(p, end) || p - start > scan->max_field) {
        return IRREGULAR;
    }
    scan->position = p + 2;

    known_name *known = find_name(state, start, size);
    PyObject *key = known->key[kind];
    PyObject *name = Py_XNewRef(known->name);
    if (name == NULL) {
        key = special_key(state, start, size, kind);
        if (kind == REQUEST && key == NULL && is_twin(state, start, size, kind)) {
            return IRREGULAR;
        }
        name = text_to_str(start, start + size, 0);
        if (name == NULL) {
            return FAILED;
        }
    }
    int result = FAILED;
    PyObject *value = text_to_str(text, p, high);
    if (value != NULL && add_field(fields, name, value) == 0 &&
        (key == NULL || add_special(special, key, value) == 0)) {
        result = SCANNED;
    }
    Py_DECREF(name);
    Py_XDECREF(value);
    return result;
}

/* The field lines up to and with the empty line. */
static int
scan_fields(module_state *state, head_scan *scan, int kind, PyObject *fields, PyObject *special)
{
    for (Py_ssize_t count = 0; !at_line_end(scan->position, scan->end); count++) {
        if (count >= scan->max_fields) {
            return IRREGULAR;
        }
        int result = scan_field(state, scan, kind, fields, special);
        if (result != SCANNED) {
            return result;
        }
    }
    scan->position += 2;
    return SCANNED;
}

/* The minor version if "HTTP/1.0" or "HTTP/1.1" is at `p`, else -1. */
static inline int
minor_version(const uint8_t *p, const uint8_t *end)
{
    if (end - p < 8 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1')) {
        return -1;
    }
    return p[7] - '0';
}

static inline int
is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* The status line (RFC 9112 §4). `*reason` becomes a new reference. */
static int
scan_status_line(head_scan *scan, int *minor, int *status, PyObject **reason)
{
    const uint8_t *start = scan->position, *end = scan->end, *p = start;
    *minor = minor_version(p, end);
    if (*minor < 0 || end - p < 14 || p[8] != ' ' || !is_digit(p[9]) || !is_digit(p[10]) ||
        !is_digit(p[11])) {
        return IRREGULAR;
    }
    *status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
    const uint8_t *text = p + 12;
    int high = 0;
    p = skip_text(text, end, &high);
    if (*status < 100 || (text < p && *text != ' ') || !at_line_end(p, end) ||
        p - start > scan->max_line) {
        return IRREGULAR;
    }
    scan->position = p + 2;
    *reason = text_to_str(text, p, high);
    return *reason == NULL ? FAILED : SCANNED;
}

static PyObject *
method_to_str(module_state *state, const uint8_t *method, Py_ssize_t size)
{
    for (int i = 0; i < METHODS; i++) {
        PyObject *known = state->methods[i];
        if (PyUnicode_GET_LENGTH(known) == size &&
            memcmp(PyUnicode_1BYTE_DATA(known), method, (size_t)size) == 0) {
            return Py_NewRef(known);
        }
    }
    return text_to_str(method, method + size, 0);
}

/* The request line (RFC 9112 §3). `*method` and `*target` become new references. */
static int
scan_request_line(module_state *state, head_scan *scan, int *minor, PyObject **method,
                  PyObject **target)
{
    const uint8_t *start = scan->position, *end = scan->end, *p = start;
    while (p < end && TOKEN[*p]) {
        p++;
    }
    const uint8_t *method_end = p;
    if (p == start || p == end || *p != ' ') {
        return IRREGULAR;
    }
    const uint8_t *target_start = ++p;
    while (p < end && *p > 0x20 && *p < 0x7f && *p != '#' && *p != '\\') {
        p++;
    }
    const uint8_t *target_end = p;
    if (p == target_start || p == end || *p != ' ') {
        return IRREGULAR;
    }
    *minor = minor_version(++p, end);
    if (*minor < 0 || !at_line_end(p + 8, end) || p + 8 - start > scan->max_line) {
        return IRREGULAR;
    }
    scan->position = p + 10;
    *method = method_to_str(state, start, method_end - start);
    *target = text_to_str(target_start, target_end, 0);
    return *method == NULL || *target == NULL ? FAILED : SCANNED;
}

/* The arguments (data, start, max_line, max_field, max_fields); -1 with an exception. */
static int
scan_arguments(const char *function, PyObject *const *args, Py_ssize_t nargs, head_scan *scan)
{
    if (nargs != 5) {
        PyErr_Format(PyExc_TypeError, "%s() takes 5 positional arguments, %zd given", function,
                     nargs);
        return -1;
    }
    if (!PyBytes_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "%s() wants bytes, not %.100s", function,
                     Py_TYPE(args[0])->tp_name);
        return -1;
    }
    Py_ssize_t numbers[4];
    for (int i = 0; i < 4; i++) {
        numbers[i] = PyLong_AsSsize_t(args[i + 1]);
        if (numbers[i] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]), start = numbers[0];
    if (start < 0) {
        PyErr_SetString(PyExc_ValueError, "start is negative");
        return -1;
    }
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    scan->position = data + (start < size ? start : size);
    scan->end = data + size;
    scan->max_line = numbers[1];
    scan->max_field = numbers[2];
    scan->max_fields = numbers[3];
    return 0;
}

/* (end, minor, first, second, fields, special). Steals `first` and `second`. */
static PyObject *
build_head(Py_ssize_t head_end, int minor, PyObject *first, PyObject *second, PyObject *fields,
           PyObject *special)
{
    PyObject *result = PyTuple_New(6);
    PyObject *end_object = PyLong_FromSsize_t(head_end);
    PyObject *minor_object = PyLong_FromLong(minor);
    if (result == NULL || end_object == NULL || minor_object == NULL) {
        Py_XDECREF(result);
        Py_XDECREF(end_object);
        Py_XDECREF(minor_object);
        Py_DECREF(first);
        Py_DECREF(second);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, end_object);
    PyTuple_SET_ITEM(result, 1, minor_object);
    PyTuple_SET_ITEM(result, 2, first);
    PyTuple_SET_ITEM(result, 3, second);
    PyTuple_SET_ITEM(result, 4, Py_NewRef(fields));
    PyTuple_SET_ITEM(result, 5, Py_NewRef(special));
    return result;
}

/* The fields and the whole result. Steals `first` and `second`, either of which may be NULL where
   `scanned` is not SCANNED. */
static PyObject *
finish_head(module_state *state, PyObject *data, head_scan *scan, int kind, int scanned, int minor,
            PyObject *first, PyObject *second)
{
    PyObject *result = NULL, *fields = NULL, *special = NULL;
    if (scanned == SCANNED) {
        fields = PyList_New(0);
        special = PyDict_New();
        scanned = fields == NULL || special == NULL
                      ? FAILED
                      : scan_fields(state, scan, kind, fields, special);
    }
    if (scanned == SCANNED) {
        Py_ssize_t end = scan->position - (const uint8_t *)PyBytes_AS_STRING(data);
        result = build_head(end, minor, first, second, fields, special);
    }
    else {
        Py_XDECREF(first);
        Py_XDECREF(second);
        if (scanned == IRREGULAR) {
            result = Py_NewRef(Py_None);
        }
    }
    Py_XDECREF(fields);
    Py_XDECREF(special);
    return result;
}

static PyObject *
scan_response_head(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    module_state *state = PyModule_GetState(module);
    head_scan scan;
    if (scan_arguments("scan_response_head", args, nargs, &scan) < 0) {
        return NULL;
    }
    int minor = 0, status = 0;
    PyObject *reason = NULL, *status_object = NULL;
    int scanned = scan_status_line(&scan, &minor, &status, &reason);
    if (scanned == SCANNED) {
        status_object = PyLong_FromLong(status);
        if (status_object == NULL) {
            scanned = FAILED;
        }
    }
    return finish_head(state, args[0], &scan, RESPONSE, scanned, minor, status_object, reason);
}

static PyObject *
scan_request_head(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    module_state *state = PyModule_GetState(module);
    head_scan scan;
    if (scan_arguments("scan_request_head", args, nargs, &scan) < 0) {
        return NULL;
    }
    int minor = 0;
    PyObject *method = NULL, *target = NULL;
    int scanned = scan_request_line(state, &scan, &minor, &method, &target);
    return finish_head(state, args[0], &scan, REQUEST, scanned, minor, method, target);
}

/* --- serializing ----------------------------------------------------------------------------- */

#define QUOTED_SIZE 60 /* how much of a name an error quotes */
#define STACK_SIZE 2048 /* most heads are smaller, and need no memory but the result */

typedef struct {
    char *data;
    size_t used;
    size_t size;
    char stack[STACK_SIZE];
} head_buffer;

static int
reserve(head_buffer *buffer, size_t more)
{
    if (more <= buffer->size - buffer->used) {
        return 0;
    }
    if (more > (size_t)PY_SSIZE_T_MAX / 2 - buffer->used) {
        PyErr_NoMemory();
        return -1;
    }
    size_t size = (buffer->used + more) * 2;
    char *data = buffer->data == buffer->stack ? PyMem_Malloc(size)
                                               : PyMem_Realloc(buffer->data, size);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (buffer->data == buffer->stack) {
        memcpy(data, buffer->stack, buffer->used);
    }
    buffer->data = data;
    buffer->size = size;
    return 0;
}

static int
append(head_buffer *buffer, const void *data, size_t size)
{
    if (reserve(buffer, size) < 0) {
        return -1;
    }
    memcpy(buffer->data + buffer->used, data, size);
    buffer->used += size;
    return 0;
}

/* repr() of a name for an error message, shortened. */
static PyObject *
quoted(PyObject *name)
{
    if (PyUnicode_GET_LENGTH(name) <= QUOTED_SIZE) {
        return PyObject_Repr(name);
    }
    PyObject *start = PyUnicode_Substring(name, 0, QUOTED_SIZE);
    PyObject *text = start == NULL ? NULL : PyUnicode_FromFormat("%R...", start);
    Py_XDECREF(start);
    return text;
}

/* ValueError: the value of `name`, or the start line where that is NULL, `has` ... */
static void
refuse_value(PyObject *name, PyObject *has)
{
    if (has == NULL) {
        return;
    }
    if (name == NULL) {
        PyErr_Format(PyExc_ValueError, "start line has %U", has);
        return;
    }
    PyObject *quotation = quoted(name);
    if (quotation != NULL) {
        PyErr_Format(PyExc_ValueError, "value of header %U has %U", quotation, has);
        Py_DECREF(quotation);
    }
}

static void
refuse_control(PyObject *name, uint8_t octet)
{
    PyObject *character = PyUnicode_FromOrdinal(octet);
    PyObject *has =
        character == NULL ? NULL : PyUnicode_FromFormat("control character %R", character);
    refuse_value(name, has);
    Py_XDECREF(character);
    Py_XDECREF(has);
}

/* Octets of a value, or of the start line where `name` is NULL; without control characters. */
static int
append_text(head_buffer *buffer, const uint8_t *text, Py_ssize_t size, PyObject *name)
{
    int high = 0;
    const uint8_t *end = text + size, *stop = skip_text(text, end, &high);
    if (stop < end) {
        refuse_control(name, *stop);
        return -1;
    }
    if (name == NULL && size > 0 && memchr(text, '\t', (size_t)size) != NULL) {
        refuse_control(name, '\t');
        return -1;
    }
    return append(buffer, text, (size_t)size);
}

#if PY_VERSION_HEX < 0x030c0000
#define IS_READY(text) (PyUnicode_READY(text) == 0)
#else
#define IS_READY(text) 1
#endif

/* A value, or the start line where `name` is NULL. */
static int
append_value(head_buffer *buffer, PyObject *value, PyObject *name)
{
    if (!IS_READY(value)) {
        return -1;
    }
    if (PyUnicode_IS_ASCII(value)) {
        return append_text(buffer, PyUnicode_1BYTE_DATA(value), PyUnicode_GET_LENGTH(value), name);
    }
    PyObject *octets = PyUnicode_AsEncodedString(value, "utf-8", "surrogateescape");
    if (octets == NULL) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
            PyErr_Clear();
            PyObject *has = PyUnicode_FromString("a lone surrogate");
            refuse_value(name, has);
            Py_XDECREF(has);
        }
        return -1;
    }
    /* Surrogate escapes stand for octets above 0x7f: none of them becomes a control character. */
    int result = append_text(buffer, (const uint8_t *)PyBytes_AS_STRING(octets),
                             PyBytes_GET_SIZE(octets), name);
    Py_DECREF(octets);
    return result;
}

static int
append_name(head_buffer *buffer, PyObject *name)
{
    if (!IS_READY(name)) {
        return -1;
    }
    Py_ssize_t size = PyUnicode_GET_LENGTH(name);
    int is_token = size > 0 && PyUnicode_IS_ASCII(name);
    if (is_token) {
        const uint8_t *octets = PyUnicode_1BYTE_DATA(name);
        for (Py_ssize_t i = 0; i < size; i++) {
            is_token &= TOKEN[octets[i]];
        }
        if (is_token) {
            return append(buffer, octets, (size_t)size);
        }
    }
    PyObject *quotation = quoted(name);
    if (quotation != NULL) {
        PyErr_Format(PyExc_ValueError, "header name is not a token: %U", quotation);
        Py_DECREF(quotation);
    }
    return -1;
}

/* Where a header's name and value are to be found again. */
typedef struct {
    module_state *state;
    PyObject *special; /* a dict */
} grouping;

/* `name` is a token, and so ASCII. */
static int
group_field(grouping *groups, PyObject *name, PyObject *value)
{
    const uint8_t *octets = PyUnicode_1BYTE_DATA(name);
    Py_ssize_t size = PyUnicode_GET_LENGTH(name);
    known_name *known = find_name(groups->state, octets, size);
    PyObject *key = known->name != NULL ? known->key[RESPONSE]
                                        : special_key(groups->state, octets, size, RESPONSE);
    return key == NULL ? 0 : add_special(groups->special, key, value);
}

/* `groups` may be NULL here and below. */
static int
append_field(head_buffer *buffer, PyObject *name, PyObject *value, grouping *groups)
{
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "header name is not a str but %.100s",
                     Py_TYPE(name)->tp_name);
        return -1;
    }
    if (!PyUnicode_Check(value)) {
        PyObject *quotation = quoted(name);
        if (quotation != NULL) {
            PyErr_Format(PyExc_TypeError, "value of header %U is not a str but %.100s", quotation,
                         Py_TYPE(value)->tp_name);
            Py_DECREF(quotation);
        }
        return -1;
    }
    if (append_name(buffer, name) < 0 || append(buffer, ": ", 2) < 0 ||
        append_value(buffer, value, name) < 0 || append(buffer, "\r\n", 2) < 0) {
        return -1;
    }
    return groups == NULL ? 0 : group_field(groups, name, value);
}

/* One name and value pair: a tuple, or whatever else unpacks into two. */
static int
append_pair(head_buffer *buffer, PyObject *pair, grouping *groups)
{
    PyObject *both = PyTuple_CheckExact(pair) ? Py_NewRef(pair) : PySequence_Tuple(pair);
    if (both == NULL) {
        return -1;
    }
    int result = -1;
    if (PyTuple_GET_SIZE(both) != 2) {
        PyErr_Format(PyExc_ValueError, "a header is a name and a value, not %zd things",
                     PyTuple_GET_SIZE(both));
    }
    else {
        result =
            append_field(buffer, PyTuple_GET_ITEM(both, 0), PyTuple_GET_ITEM(both, 1), groups);
    }
    Py_DECREF(both);
    return result;
}

static int
append_pairs(head_buffer *buffer, PyObject *headers, grouping *groups)
{
#ifdef Py_GIL_DISABLED
    /* Another thread may change a list while it is read; a tuple is ours. */
    PyObject *pairs = PySequence_Tuple(headers);
#else
    PyObject *pairs = PySequence_Fast(headers, "headers are not iterable");
#endif
    if (pairs == NULL) {
        return -1;
    }
    int result = 0;
    /* The size is asked again each time, and each pair held: unpacking one may run Python code. */
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Fast_GET_SIZE(pairs); i++) {
        PyObject *pair = Py_NewRef(PySequence_Fast_GET_ITEM(pairs, i));
        result = append_pair(buffer, pair, groups);
        Py_DECREF(pair);
    }
    Py_DECREF(pairs);
    return result;
}

/* A head of the arguments (start_line, headers); its fields go into `groups` as well. */
static PyObject *
build_wire(const char *function, PyObject *const *args, Py_ssize_t nargs, grouping *groups)
{
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "%s() takes 2 positional arguments, %zd given", function,
                     nargs);
        return NULL;
    }
    if (!PyUnicode_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "start line is not a str but %.100s",
                     Py_TYPE(args[0])->tp_name);
        return NULL;
    }
    head_buffer buffer;
    buffer.data = buffer.stack;
    buffer.used = 0;
    buffer.size = STACK_SIZE;
    PyObject *head = NULL;
    if (append_value(&buffer, args[0], NULL) == 0 && append(&buffer, "\r\n", 2) == 0 &&
        append_pairs(&buffer, args[1], groups) == 0 && append(&buffer, "\r\n", 2) == 0) {
        head = PyBytes_FromStringAndSize(buffer.data, (Py_ssize_t)buffer.used);
    }
    if (buffer.data != buffer.stack) {
        PyMem_Free(buffer.data);
    }
    return head;
}

static PyObject *
serialize_head(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    return build_wire("serialize_head", args, nargs, NULL);
}

static PyObject *
serialize_and_group(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    grouping groups = {PyModule_GetState(module), PyDict_New()};
    if (groups.special == NULL) {
        return NULL;
    }
    PyObject *wire = build_wire("serialize_and_group", args, nargs, &groups);
    PyObject *result = wire == NULL ? NULL : PyTuple_Pack(2, wire, groups.special);
    Py_XDECREF(wire);
    Py_DECREF(groups.special);
    return result;
}

/* --- masking --------------------------------------------------------------------------------- */

static void
mask_octets(uint8_t *restrict to, const uint8_t *restrict from, Py_ssize_t size, const uint8_t *key)
{
    uint8_t twice[8];
    memcpy(twice, key, 4);
    memcpy(twice + 4, key, 4);
    uint64_t pad;
    memcpy(&pad, twice, 8);
    Py_ssize_t i = 0;
    for (; size - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        word ^= pad;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++) {
        to[i] = from[i] ^ twice[i & 7];
    }
}

static PyObject *
mask_buffer(Py_buffer *data, Py_buffer *key)
{
    if (key->len != 4) {
        PyErr_Format(PyExc_ValueError, "masking key has %zd bytes, not 4", key->len);
        return NULL;
    }
    PyObject *masked = PyBytes_FromStringAndSize(NULL, data->len);
    if (masked != NULL && data->len > 0) {
        mask_octets((uint8_t *)PyBytes_AS_STRING(masked), data->buf, data->len, key->buf);
    }
    return masked;
}

static PyObject *
mask(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2) {
        PyErr_Format(PyExc_TypeError, "mask() takes 2 positional arguments, %zd given", nargs);
        return NULL;
    }
    Py_buffer data, key;
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL; /* also for a view with gaps, which nothing here makes */
    }
    PyObject *masked = NULL;
    if (PyObject_GetBuffer(args[1], &key, PyBUF_SIMPLE) == 0) {
        masked = mask_buffer(&data, &key);
        PyBuffer_Release(&key);
    }
    PyBuffer_Release(&data);
    return masked;
}

/* --- frames of WebSocket --------------------------------------------------------------------- */

/* FIN, any RSV1 and a known opcode, or the same without FIN where it may be fragmented. */
static inline int
is_regular_frame(uint8_t first)
{
    uint8_t opcode = first & 0x0f;
    if (first & 0x30) {
        return 0;
    }
    return opcode <= 2 || (opcode >= 8 && opcode <= 10 && (first & 0x80));
}

typedef struct {
    const uint8_t *content; /* NULL: not a frame that can be taken */
    const uint8_t *key;
    Py_ssize_t length;
} frame_scan;

/* RFC 6455 §5.2. */
static frame_scan
find_frame(const uint8_t *p, const uint8_t *end, int masked, Py_ssize_t max_size)
{
    frame_scan none = {NULL, NULL, 0};
    if (end - p < 2 || !is_regular_frame(p[0]) || (p[1] >> 7) != masked) {
        return none;
    }
    uint64_t length = p[1] & 0x7f;
    const uint8_t *content = p + 2;
    if (length >= 126) {
        if ((p[0] & 0x08) || end - p < 10) {
            return none;
        }
        int octets = length == 126 ? 2 : 8;
        length = 0;
        for (int i = 0; i < octets; i++) {
            length = length << 8 | *content++;
        }
        if (length < (octets == 2 ? 126u : 65536u)) {
            return none;
        }
    }
    const uint8_t *key = content;
    if (masked) {
        content += 4;
    }
    if (content > end || length > (uint64_t)(end - content)) {
        return none;
    }
    if (!(p[0] & 0x08) && (Py_ssize_t)length > max_size) {
        return none;
    }
    frame_scan found = {content, key, (Py_ssize_t)length};
    return found;
}

/* (end, first octet, content). */
static PyObject *
build_frame(const frame_scan *found, const uint8_t *data, uint8_t first, int masked)
{
    PyObject *result = PyTuple_New(3);
    PyObject *end = PyLong_FromSsize_t(found->content - data + found->length);
    PyObject *first_object = PyLong_FromLong(first);
    PyObject *content =
        PyBytes_FromStringAndSize(masked ? NULL : (const char *)found->content, found->length);
    if (result == NULL || end == NULL || first_object == NULL || content == NULL) {
        Py_XDECREF(result);
        Py_XDECREF(end);
        Py_XDECREF(first_object);
        Py_XDECREF(content);
        return NULL;
    }
    if (masked && found->length > 0) {
        mask_octets((uint8_t *)PyBytes_AS_STRING(content), found->content, found->length,
                    found->key);
    }
    PyTuple_SET_ITEM(result, 0, end);
    PyTuple_SET_ITEM(result, 1, first_object);
    PyTuple_SET_ITEM(result, 2, content);
    return result;
}

static PyObject *
scan_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 4) {
        PyErr_Format(PyExc_TypeError, "scan_frame() takes 4 positional arguments, %zd given",
                     nargs);
        return NULL;
    }
    if (!PyBytes_Check(args[0])) {
        PyErr_Format(PyExc_TypeError, "scan_frame() wants bytes, not %.100s",
                     Py_TYPE(args[0])->tp_name);
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int masked = PyObject_IsTrue(args[2]);
    Py_ssize_t max_size = PyLong_AsSsize_t(args[3]);
    if (masked < 0 || (max_size == -1 && PyErr_Occurred())) {
        return NULL;
    }
    if (start < 0) {
        PyErr_SetString(PyExc_ValueError, "start is negative");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    if (start > size) {
        start = size;
    }
    frame_scan found = find_frame(data + start, data + size, masked, max_size);
    if (found.content == NULL) {
        Py_RETURN_NONE;
    }
    return build_frame(&found, data, data[start], masked);
}

/* cls((kind, content, "")) of a subclass of tuple; takes the reference to `content`. */
static PyObject *
build_message(PyTypeObject *cls, PyObject *kind, PyObject *content)
{
    PyObject *extra = PyUnicode_New(0, 0);
    PyObject *message = extra == NULL ? NULL : cls->tp_alloc(cls, 3);
    if (message == NULL) {
        Py_XDECREF(extra);
        Py_DECREF(content);
        return NULL;
    }
    PyTuple_SET_ITEM(message, 0, Py_NewRef(kind));
    PyTuple_SET_ITEM(message, 1, content);
    PyTuple_SET_ITEM(message, 2, extra);
    return message;
}

/* The content of a frame, of a text as str; NULL with an exception. */
static PyObject *
build_content(const frame_scan *found, int masked, int is_text)
{
    if (is_text && !masked) {
        return PyUnicode_DecodeUTF8((const char *)found->content, found->length, NULL);
    }
    PyObject *octets =
        PyBytes_FromStringAndSize(masked ? NULL : (const char *)found->content, found->length);
    if (octets == NULL) {
        return NULL;
    }
    if (masked && found->length > 0) {
        mask_octets((uint8_t *)PyBytes_AS_STRING(octets), found->content, found->length,
                    found->key);
    }
    if (!is_text) {
        return octets;
    }
    PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(octets), found->length, NULL);
    Py_DECREF(octets);
    return text;
}

static PyObject *
scan_messages(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 6) {
        PyErr_Format(PyExc_TypeError, "scan_messages() takes 6 positional arguments, %zd given",
                     nargs);
        return NULL;
    }
    if (!PyBytes_Check(args[0]) || !PyTuple_Check(args[4]) || PyTuple_GET_SIZE(args[4]) != 3 ||
        !PyList_Check(args[5])) {
        PyErr_SetString(PyExc_TypeError, "scan_messages() wants bytes, a tuple of 3 and a list");
        return NULL;
    }
    PyTypeObject *cls = (PyTypeObject *)PyTuple_GET_ITEM(args[4], 0);
    if (!PyType_Check((PyObject *)cls) || !PyType_IsSubtype(cls, &PyTuple_Type)) {
        PyErr_SetString(PyExc_TypeError, "messages are of a subclass of tuple");
        return NULL;
    }
    PyObject *text = PyTuple_GET_ITEM(args[4], 1);
    PyObject *binary = PyTuple_GET_ITEM(args[4], 2);
    Py_ssize_t position = PyLong_AsSsize_t(args[1]);
    if (position == -1 && PyErr_Occurred()) {
        return NULL;
    }
    int masked = PyObject_IsTrue(args[2]);
    Py_ssize_t max_size = PyLong_AsSsize_t(args[3]);
    if (masked < 0 || (max_size == -1 && PyErr_Occurred())) {
        return NULL;
    }
    if (position < 0) {
        PyErr_SetString(PyExc_ValueError, "start is negative");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    while (position < size) {
        int is_text = data[position] == 0x81;
        if (!is_text && data[position] != 0x82) {
            break;
        }
        if (is_text && text == Py_None) {
            break;
        }
        frame_scan found = find_frame(data + position, data + size, masked, max_size);
        if (found.content == NULL) {
            break;
        }
        PyObject *content = build_content(&found, masked, is_text);
        if (content == NULL) {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return NULL;
            }
            PyErr_Clear();
            break;
        }
        PyObject *message = build_message(cls, is_text ? text : binary, content);
        if (message == NULL) {
            return NULL;
        }
        int status = PyList_Append(args[5], message);
        Py_DECREF(message);
        if (status < 0) {
            return NULL;
        }
        position = found.content - data + found.length;
    }
    return PyLong_FromSsize_t(position);
}

/* The frame around `size` octets, masked if there is a key. */
static PyObject *
wrap_frame(uint8_t first, const uint8_t *content, Py_ssize_t size, const uint8_t *key)
{
    uint8_t head[14];
    uint8_t bit = key == NULL ? 0 : 0x80;
    int octets = size < 126 ? 0 : size < 65536 ? 2 : 8;
    Py_ssize_t used = 2;
    head[0] = first;
    head[1] = bit | (uint8_t)(octets == 0 ? size : octets == 2 ? 126 : 127);
    for (int i = octets - 1; i >= 0; i--) {
        head[used++] = (uint8_t)((uint64_t)size >> (8 * i));
    }
    if (key != NULL) {
        memcpy(head + used, key, 4);
        used += 4;
    }
    if (size > PY_SSIZE_T_MAX - used) {
        return PyErr_NoMemory();
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, used + size);
    if (frame == NULL) {
        return NULL;
    }
    uint8_t *to = (uint8_t *)PyBytes_AS_STRING(frame);
    memcpy(to, head, (size_t)used);
    if (key != NULL) {
        mask_octets(to + used, content, size, key);
    }
    else if (size > 0) {
        memcpy(to + used, content, (size_t)size);
    }
    return frame;
}

/* The frame around a str in UTF-8 or around a buffer. */
static PyObject *
wrap_object(uint8_t first, PyObject *content, const uint8_t *key)
{
    if (PyUnicode_Check(content)) {
        if (PyUnicode_IS_COMPACT_ASCII(content)) {
            return wrap_frame(first, PyUnicode_1BYTE_DATA(content), PyUnicode_GET_LENGTH(content),
                              key);
        }
        PyObject *octets = PyUnicode_AsUTF8String(content);
        if (octets == NULL) {
            return NULL;
        }
        PyObject *frame = wrap_frame(first, (const uint8_t *)PyBytes_AS_STRING(octets),
                                     PyBytes_GET_SIZE(octets), key);
        Py_DECREF(octets);
        return frame;
    }
    Py_buffer view;
    if (PyObject_GetBuffer(content, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    PyObject *frame = wrap_frame(first, view.buf, view.len, key);
    PyBuffer_Release(&view);
    return frame;
}

static PyObject *
serialize_frame(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3) {
        PyErr_Format(PyExc_TypeError, "serialize_frame() takes 3 positional arguments, %zd given",
                     nargs);
        return NULL;
    }
    long first = PyLong_AsLong(args[0]);
    if (first == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (first < 0 || first > 255) {
        PyErr_SetString(PyExc_ValueError, "the first octet is none");
        return NULL;
    }
    const uint8_t *key = NULL;
    if (args[2] != Py_None) {
        if (!PyBytes_Check(args[2])) {
            PyErr_Format(PyExc_TypeError, "masking key is not bytes but %.100s",
                         Py_TYPE(args[2])->tp_name);
            return NULL;
        }
        if (PyBytes_GET_SIZE(args[2]) != 4) {
            PyErr_Format(PyExc_ValueError, "masking key has %zd bytes, not 4",
                         PyBytes_GET_SIZE(args[2]));
            return NULL;
        }
        key = (const uint8_t *)PyBytes_AS_STRING(args[2]);
    }
    return wrap_object((uint8_t)first, args[1], key);
}

/* --- the module ------------------------------------------------------------------------------ */

/* Enter one spelling of a name. -1 with an exception. */
static int
enter_name(module_state *state, PyObject *istr, PyObject *text, PyObject *const *special)
{
    PyObject *lower = NULL;
    PyObject *name = PyObject_CallOneArg(istr, text);
    if (name == NULL) {
        return -1;
    }
    Py_ssize_t size;
    const char *octets = PyUnicode_AsUTF8AndSize(name, &size);
    if (octets == NULL) {
        goto error;
    }
    known_name *entry = find_name(state, (const uint8_t *)octets, size);
    if (entry->name != NULL) {
        Py_DECREF(name);
        return 0;
    }
    if (state->count >= TABLE_SIZE / 2) {
        PyErr_SetString(PyExc_SystemError, "too many well-known fields");
        goto error;
    }
    lower = PyObject_CallMethod(text, "lower", NULL);
    if (lower == NULL) {
        goto error;
    }
    for (int kind = RESPONSE; kind <= REQUEST; kind++) {
        int contained = PySet_Contains(special[kind], lower);
        if (contained < 0 || (contained && size > LONGEST_SPECIAL)) {
            if (contained > 0) {
                PyErr_SetString(PyExc_SystemError, "a special field has too long a name");
            }
            goto error;
        }
        if (contained) {
            entry->key[kind] = Py_NewRef(lower);
        }
    }
    Py_DECREF(lower);
    entry->octets = (const uint8_t *)octets;
    entry->size = size;
    entry->name = name;
    state->count++;
    return 0;

error:
    Py_DECREF(name);
    Py_XDECREF(lower);
    return -1;
}

/* Enter all names of an iterable, as they are and in lower case. */
static int
enter_names(module_state *state, PyObject *istr, PyObject *names, PyObject *const *special)
{
    PyObject *iterator = PyObject_GetIter(names);
    if (iterator == NULL) {
        return -1;
    }
    PyObject *name;
    int result = 0;
    while (result == 0 && (name = PyIter_Next(iterator)) != NULL) {
        PyObject *lower = PyObject_CallMethod(name, "lower", NULL);
        if (lower == NULL || enter_name(state, istr, name, special) < 0 ||
            enter_name(state, istr, lower, special) < 0) {
            result = -1;
        }
        Py_XDECREF(lower);
        Py_DECREF(name);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : result;
}

static PyObject *
import_attribute(const char *module_name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(module_name);
    if (module == NULL) {
        return NULL;
    }
    PyObject *value = PyObject_GetAttrString(module, attribute);
    Py_DECREF(module);
    return value;
}

static int
enter_known_names(module_state *state)
{
    int result = -1;
    PyObject *special[2];
    PyObject *istr = import_attribute("multidict", "istr");
    PyObject *names = import_attribute("angelia.core.pure", "WELL_KNOWN_FIELDS");
    special[RESPONSE] = import_attribute("angelia.core.pure", "SPECIAL_RESPONSE_FIELDS");
    special[REQUEST] = import_attribute("angelia.core.pure", "SPECIAL_REQUEST_FIELDS");
    if (istr != NULL && names != NULL && special[RESPONSE] != NULL && special[REQUEST] != NULL &&
        enter_names(state, istr, names, special) == 0 &&
        enter_names(state, istr, special[RESPONSE], special) == 0 &&
        enter_names(state, istr, special[REQUEST], special) == 0) {
        result = 0;
    }
    Py_XDECREF(istr);
    Py_XDECREF(names);
    Py_XDECREF(special[RESPONSE]);
    Py_XDECREF(special[REQUEST]);
    return result;
}

static int
module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    for (int i = 0; i < METHODS; i++) {
        state->methods[i] = PyUnicode_InternFromString(METHOD_NAMES[i]);
        if (state->methods[i] == NULL) {
            return -1;
        }
    }
    return enter_known_names(state);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    for (int i = 0; i < TABLE_SIZE; i++) {
        Py_VISIT(state->table[i].name);
        Py_VISIT(state->table[i].key[RESPONSE]);
        Py_VISIT(state->table[i].key[REQUEST]);
    }
    for (int i = 0; i < METHODS; i++) {
        Py_VISIT(state->methods[i]);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    for (int i = 0; i < TABLE_SIZE; i++) {
        Py_CLEAR(state->table[i].name);
        Py_CLEAR(state->table[i].key[RESPONSE]);
        Py_CLEAR(state->table[i].key[REQUEST]);
    }
    for (int i = 0; i < METHODS; i++) {
        Py_CLEAR(state->methods[i]);
    }
    return 0;
}

static void
module_free(void *module)
{
    (void)module_clear((PyObject *)module);
}

/* --- memory ---------------------------------------------------------------------------------- */

static PyObject *
advise_huge_pages(PyObject *module, PyObject *buffer)
{
    Py_buffer view;
    (void)module;
    if (PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    /* Only pages that are the buffer's alone. An advice that the kernel does not take changes
       nothing, so its answer is of no interest. */
    const uintptr_t page = 4096;
    uintptr_t first = ((uintptr_t)view.buf + page - 1) & ~(page - 1);
    uintptr_t last = ((uintptr_t)view.buf + (uintptr_t)view.len) & ~(page - 1);
    if (first < last) {
        (void)madvise((void *)first, (size_t)(last - first), MADV_HUGEPAGE);
    }
#endif
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"scan_response_head", (PyCFunction)(void (*)(void))scan_response_head, METH_FASTCALL,
     "scan_response_head(data, start, max_line, max_field, max_fields, /)\n--\n\n"
     "Twin of angelia.core.pure.scan_response_head."},
    {"scan_request_head", (PyCFunction)(void (*)(void))scan_request_head, METH_FASTCALL,
     "scan_request_head(data, start, max_line, max_field, max_fields, /)\n--\n\n"
     "Twin of angelia.core.pure.scan_request_head."},
    {"serialize_head", (PyCFunction)(void (*)(void))serialize_head, METH_FASTCALL,
     "serialize_head(start_line, headers, /)\n--\n\nTwin of angelia.core.pure.serialize_head."},
    {"serialize_and_group", (PyCFunction)(void (*)(void))serialize_and_group, METH_FASTCALL,
     "serialize_and_group(start_line, headers, /)\n--\n\n"
     "Twin of angelia.core.pure.serialize_and_group."},
    {"mask", (PyCFunction)(void (*)(void))mask, METH_FASTCALL,
     "mask(data, key, /)\n--\n\nTwin of angelia.core.pure.mask."},
    {"scan_frame", (PyCFunction)(void (*)(void))scan_frame, METH_FASTCALL,
     "scan_frame(data, start, masked, max_size, /)\n--\n\n"
     "Twin of angelia.core.pure.scan_frame."},
    {"scan_messages", (PyCFunction)(void (*)(void))scan_messages, METH_FASTCALL,
     "scan_messages(data, start, masked, max_size, kinds, messages, /)\n--\n\n"
     "Twin of angelia.core.pure.scan_messages."},
    {"serialize_frame", (PyCFunction)(void (*)(void))serialize_frame, METH_FASTCALL,
     "serialize_frame(first, content, key, /)\n--\n\n"
     "Twin of angelia.core.pure.serialize_frame."},
    {"advise_huge_pages", advise_huge_pages, METH_O,
     "advise_huge_pages(buffer, /)\n--\n\nTwin of angelia.core.pure.advise_huge_pages."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "angelia.core._speedups",
    .m_doc = "The leaf loops of the hot path in C; angelia.core.pure documents them.",
    .m_size = sizeof(module_state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
