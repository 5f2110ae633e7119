/* The reader of plain frames: what msgspec makes of them, in two thirds of its time.

   A frame is plain when it is written as the broker writes nearly all of them:
   no blanks, no escapes, no exponents, numbers of at most fifteen digits. Such a frame becomes the very Struct that msgspec would
   make of it. Whatever else comes, however wrong it is, is handed untouched to
   msgspec, which alone decides what is refused. So this file knows no errors of
   its own, and where it was not compiled nothing changes but the speed.

   Nothing here runs past its bytes: CPython puts a NUL behind every bytes
   object, no branch takes a NUL for a part of a frame, and no character is
   passed before it was looked at. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

enum {
    MOST_FIELDS = 32,
    MOST_ROWS = 32,
    /* Each such number is a whole double below 2**53, the limit of `frames`, and so are the powers
       of ten it is divided by: one division, rounded once, as exact as any longer way. */
    MOST_DIGITS = 15,
};

/* The last second of the year 9999 in Kolkata, as in `frames`. */
static const int64_t LAST_SECOND = 253370764800;

static const double POWERS[MOST_DIGITS + 1] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                               1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

/* What may stand at a place of a layout. */
enum kind {
    ANY = 'a',            /* text, number or null */
    EMPTY_OR_WHOLE = 'e', /* "", or like WHOLE */
    MOMENT = 'm',         /* Unix seconds */
    PRICE = 'p',          /* number or null */
    ROWS = 'r',           /* of a book */
    SECONDS = 's',        /* Unix seconds or null */
    TEXT = 't',
    TEXT_OR_PRICE = 'v',
    WHOLE = 'w', /* whole number or null */
};

typedef struct reader {
    PyObject_HEAD
    vectorcallfunc call;
    PyTypeObject *made;   /* the Struct */
    PyObject *otherwise;  /* called with what is not plain; NULL for the rows of a book */
    struct reader *rows;  /* for the places of kind ROWS */
    Py_ssize_t fields;
    char kinds[MOST_FIELDS + 1];
    Py_ssize_t offsets[MOST_FIELDS]; /* of each field within the Struct */
} Reader;

typedef struct {
    int64_t digits; /* the number without its point */
    int places;     /* digits behind it */
} Number;

/* Each read_… moves `*at` behind what it read. Where that is not plain, it returns 0 or NULL and
   leaves `*at` anywhere; an exception is set only when there is no memory. */

static inline int
is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

static inline int
read_number(const char **at, Number *number)
{
    const char *p = *at;
    int negative = *p == '-';
    p += negative;
    const char *first = p;
    uint64_t digits = 0; /* wraps around in what is too long, which is left below */
    while (is_digit(*p)) {
        digits = digits * 10 + (uint64_t)(*p++ - '0');
    }
    Py_ssize_t count = p - first;
    if (count == 0 || (count > 1 && *first == '0')) {
        return 0;
    }
    number->places = 0;
    if (*p == '.') {
        const char *point = p++;
        while (is_digit(*p)) {
            digits = digits * 10 + (uint64_t)(*p++ - '0');
        }
        Py_ssize_t places = p - point - 1;
        count += places;
        if (places == 0 || count > MOST_DIGITS) {
            return 0;
        }
        number->places = (int)places;
    }
    if (count > MOST_DIGITS || (negative && digits == 0)) { /* -0.0 keeps its sign elsewhere */
        return 0;
    }
    number->digits = negative ? -(int64_t)digits : (int64_t)digits;
    *at = p;
    return 1;
}

static inline PyObject *
to_price(const Number *number)
{
    double price = (double)number->digits;
    return PyFloat_FromDouble(number->places ? price / POWERS[number->places] : price);
}

static inline PyObject *
read_price(const char **at)
{
    Number number;
    return read_number(at, &number) ? to_price(&number) : NULL;
}

static inline PyObject *
read_whole(const char **at, int64_t least, int64_t most)
{
    Number number;
    if (!read_number(at, &number) || number.places || number.digits < least
        || number.digits > most) {
        return NULL;
    }
    return PyLong_FromLongLong(number.digits);
}

static inline PyObject *
read_any_number(const char **at)
{
    Number number;
    if (!read_number(at, &number)) {
        return NULL;
    }
    return number.places ? to_price(&number) : PyLong_FromLongLong(number.digits);
}

static inline PyObject *
read_null(const char **at)
{
    const char *p = *at;
    if (p[0] != 'n' || p[1] != 'u' || p[2] != 'l' || p[3] != 'l') {
        return NULL;
    }
    *at = p + 4;
    return Py_NewRef(Py_None);
}

/* `*at` is at the quote. */
static inline PyObject *
read_text(const char **at)
{
    const char *first = ++*at, *p = first;
    while (*p >= ' ' && *p < 0x7f && *p != '"' && *p != '\\') {
        p++;
    }
    if (*p != '"') {
        return NULL;
    }
    Py_ssize_t length = p - first;
    PyObject *text = PyUnicode_New(length, 0x7f);
    if (text != NULL) {
        memcpy(PyUnicode_1BYTE_DATA(text), first, (size_t)length);
    }
    *at = p + 1;
    return text;
}

static PyObject *read_array(const Reader *reader, const char **at);

static PyObject *
read_rows(const Reader *reader, const char **at)
{
    PyObject *rows[MOST_ROWS], *all = NULL;
    Py_ssize_t count = 0;
    if (reader == NULL || *(*at)++ != '[') {
        return NULL;
    }
    if (**at == ']') {
        ++*at;
        return PyTuple_New(0);
    }
    while (count < MOST_ROWS) {
        rows[count] = read_array(reader, at);
        if (rows[count] == NULL) {
            goto done;
        }
        count++;
        if (**at != ',') {
            break;
        }
        ++*at;
    }
    if (**at != ']') { /* also when there are too many */
        goto done;
    }
    ++*at;
    all = PyTuple_New(count);
    if (all != NULL) {
        for (Py_ssize_t i = 0; i < count; i++) {
            PyTuple_SET_ITEM(all, i, rows[i]);
        }
        return all;
    }
done:
    while (count > 0) {
        Py_DECREF(rows[--count]);
    }
    return NULL;
}

static inline PyObject *
read_value(const Reader *reader, char kind, const char **at)
{
    if (**at == '"') {
        switch (kind) {
        case EMPTY_OR_WHOLE:
            return (*at)[1] == '"' ? read_text(at) : NULL;
        case ANY:
        case TEXT:
        case TEXT_OR_PRICE:
            return read_text(at);
        default:
            return NULL;
        }
    }
    if (**at == 'n' && kind != MOMENT && kind != ROWS && kind != TEXT) {
        return read_null(at);
    }
    switch (kind) {
    case PRICE:
    case TEXT_OR_PRICE:
        return read_price(at);
    case EMPTY_OR_WHOLE:
    case WHOLE:
        return read_whole(at, INT64_MIN, INT64_MAX);
    case MOMENT:
    case SECONDS:
        return read_whole(at, 0, LAST_SECOND);
    case ANY:
        return read_any_number(at);
    case ROWS:
        return read_rows(reader->rows, at);
    default:
        return NULL;
    }
}

static PyObject *
read_array(const Reader *reader, const char **at)
{
    if (**at != '[') {
        return NULL;
    }
    PyObject *made = reader->made->tp_alloc(reader->made, 0);
    if (made == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < reader->fields; i++) {
        if (**at != (i == 0 ? '[' : ',')) {
            goto otherwise;
        }
        ++*at;
        PyObject *value = read_value(reader, reader->kinds[i], at);
        if (value == NULL) {
            goto otherwise;
        }
        *(PyObject **)((char *)made + reader->offsets[i]) = value;
    }
    if (**at == ']') {
        ++*at;
        return made;
    }
otherwise:
    Py_DECREF(made);
    return NULL;
}

static PyObject *
reader_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const Reader *reader = (const Reader *)self;
    if (PyVectorcall_NARGS(nargsf) != 1 || (names != NULL && PyTuple_GET_SIZE(names) > 0)) {
        PyErr_SetString(PyExc_TypeError, "a Reader takes one frame");
        return NULL;
    }
    PyObject *raw = args[0];
    if (PyBytes_CheckExact(raw)) {
        const char *at = PyBytes_AS_STRING(raw), *end = at + PyBytes_GET_SIZE(raw);
        PyObject *made = read_array(reader, &at);
        if (made != NULL && at == end) {
            return made;
        }
        Py_XDECREF(made);
        if (made == NULL && PyErr_Occurred()) {
            return NULL;
        }
    }
    return PyObject_CallOneArg(reader->otherwise, raw);
}

/* Find where a Struct keeps its fields, as the descriptors of its class tell it. */
static int
find_offsets(Reader *reader)
{
    PyObject *names = PyObject_GetAttrString((PyObject *)reader->made, "__struct_fields__");
    if (names == NULL) {
        return -1;
    }
    int found = -1;
    if (!PyTuple_Check(names) || PyTuple_GET_SIZE(names) != reader->fields) {
        PyErr_SetString(PyExc_TypeError, "a Reader takes one kind for each field of a Struct");
        goto done;
    }
    for (Py_ssize_t i = 0; i < reader->fields; i++) {
        PyObject *field = PyObject_GetAttr((PyObject *)reader->made, PyTuple_GET_ITEM(names, i));
        if (field == NULL) {
            goto done;
        }
        PyMemberDef *member = Py_IS_TYPE(field, &PyMemberDescr_Type)
                                  ? ((PyMemberDescrObject *)field)->d_member
                                  : NULL;
        int known = member != NULL && member->type == T_OBJECT_EX
                    && member->offset >= (Py_ssize_t)sizeof(PyObject)
                    && member->offset + (Py_ssize_t)sizeof(PyObject *)
                           <= reader->made->tp_basicsize;
        if (known) {
            reader->offsets[i] = member->offset;
        }
        Py_DECREF(field);
        if (!known) {
            PyErr_SetString(PyExc_TypeError, "a Reader knows no such layout of a Struct");
            goto done;
        }
    }
    found = 0;
done:
    Py_DECREF(names);
    return found;
}

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"made", "kinds", "otherwise", "rows", NULL};
    PyObject *made, *otherwise, *rows = Py_None;
    const char *kinds;
    Py_ssize_t fields;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!s#O|O", names, &PyType_Type, &made, &kinds,
                                     &fields, &otherwise, &rows)) {
        return NULL;
    }
    if (fields < 1 || fields > MOST_FIELDS || (rows != Py_None && !Py_IS_TYPE(rows, type))) {
        PyErr_SetString(PyExc_TypeError, "a Reader takes up to 32 kinds and a Reader of rows");
        return NULL;
    }
    if (!PyCallable_Check(otherwise)) {
        PyErr_SetString(PyExc_TypeError, "a Reader hands on to a callable");
        return NULL;
    }
    Reader *reader = (Reader *)type->tp_alloc(type, 0);
    if (reader == NULL) {
        return NULL;
    }
    reader->call = reader_call;
    reader->made = (PyTypeObject *)Py_NewRef(made);
    reader->otherwise = Py_NewRef(otherwise);
    reader->rows = rows == Py_None ? NULL : (Reader *)Py_NewRef(rows);
    reader->fields = fields;
    memcpy(reader->kinds, kinds, (size_t)fields);
    if (find_offsets(reader) < 0) {
        Py_DECREF(reader);
        return NULL;
    }
    return (PyObject *)reader;
}

static int
reader_traverse(PyObject *self, visitproc visit, void *arg)
{
    Reader *reader = (Reader *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reader->made);
    Py_VISIT(reader->otherwise);
    Py_VISIT(reader->rows);
    return 0;
}

static void
reader_dealloc(PyObject *self)
{
    Reader *reader = (Reader *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(reader->made);
    Py_XDECREF(reader->otherwise);
    Py_XDECREF(reader->rows);
    type->tp_free(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(reader_doc, "Reader(made, kinds, otherwise, rows=None)\n--\n\n"
                         "Read plain frames as `made`, a Struct; call `otherwise` with all others.\n\n"
                         "`kinds` has a letter for each field. Called with a frame's bytes.");

static PyMemberDef reader_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Reader, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, (void *)reader_doc},
    {Py_tp_new, reader_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_members, reader_members},
    {0, NULL},
};

static PyType_Spec reader_spec = {
    .name = "breeze_lab._reader.Reader",
    .basicsize = sizeof(Reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reader_slots,
};

static int
module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &reader_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int added = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return added;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "breeze_lab._reader",
    .m_doc = "The reader of plain frames; see `breeze_lab.frames`.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__reader(void)
{
    return PyModuleDef_Init(&module_def);
}
