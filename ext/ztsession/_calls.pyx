"""One call: verify, sign, and the decorator that does the first before a handler runs.

The operation is bound once; a call then takes ``bytes`` without copying and any other buffer through one
copy, so that what was verified is what the handler sees. Objects are called by vectorcall, and the only
allocation is the result.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ztsession._core cimport Table, operation_index, raise_status
from ztsession.zts cimport (
    ZTS_ANY_OPERATION,
    ZTS_DONE,
    ZTS_OK,
    ZTS_TOKEN_BYTES,
    zts_status,
    zts_verdict,
)

from ztsession import errors
from ztsession._core import MODES, VERDICTS

cdef extern from "Python.h":
    ctypedef object (*vectorcallfunc)(object, PyObject *const *, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t nargsf)
    object PyObject_Vectorcall(object callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    Py_ssize_t PyTuple_GET_SIZE(PyObject *)
    ctypedef struct PyTypeObject:
        pass

cdef extern from "vectorcall.h":
    void zts_enable_vectorcall(PyTypeObject *type, Py_ssize_t offset)


# ---- Refusals ----------------------------------------------------------------------------------------------

cdef tuple denials = tuple([
    {kind.verdict: kind for kind in errors.Denied.__subclasses__()}.get(name, errors.Denied)
    for name in VERDICTS
])


cdef object refuse(Table table, uint32_t operation, zts_verdict verdict):
    kind = denials[<int>verdict]
    asked = "this call" if operation == ZTS_ANY_OPERATION else table.operations[operation]
    raise kind(f"{asked}: {kind.__doc__.splitlines()[0]}")


# ---- What a handler is told --------------------------------------------------------------------------------

@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class SessionView:
    """Who is calling, as established by the handshake and confirmed for this very call. Read only."""

    def __init__(self):
        raise TypeError("a SessionView comes from verifying a call")

    @property
    def handle(self):
        """The installation's handle at this enforcement point, 64 bits."""
        return self.call.handle

    @property
    def sequence(self):
        """The call's sequence number, from 1, never accepted twice."""
        return self.call.sequence

    @property
    def issued_at_us(self):
        """When the caller made the token: microseconds of this point's session time."""
        return self.call.issued_at_us

    @property
    def epoch(self):
        """The epoch whose key authenticated the call."""
        return self.call.epoch

    @property
    def operation(self):
        """Full name of the operation that was called."""
        return home_of(self).operations[self.call.operation]  # an installation allows named operations only

    @property
    def mode(self):
        """The session's mode when the call was accepted."""
        return MODES[self.call.mode]

    @property
    def record(self):
        """What this side knows of the installation; SessionEnded once it is over."""
        found = home_of(self).record(self.call.handle)
        if found is None:
            raise errors.SessionEnded("the session ended after this call was accepted")
        return found

    @property
    def subject(self):
        """The trader, algorithm or service that is calling."""
        return self.record.subject

    @property
    def device(self):
        """The host that the subject runs on."""
        return self.record.device

    @property
    def session(self):
        """The session's id, 16 bytes, as the Authority and the audit log know it."""
        return self.record.session

    def __repr__(self):
        return f"<SessionView {self.operation} handle={self.call.handle:#x} sequence={self.call.sequence}>"


cdef Table home_of(SessionView view):
    """Instances that no call made, by way of ``__new__``, have no table."""
    if view.table is None:
        raise errors.SessionEnded("a SessionView comes from verifying a call")
    return view.table


# ---- Verifying ---------------------------------------------------------------------------------------------

cdef bytes snapshot(object buffer, str name):
    """A private, contiguous copy of any buffer."""
    try:
        return bytes(memoryview(buffer))
    except TypeError:
        raise TypeError(f"{name} must be bytes or a buffer, not {type(buffer).__name__}") from None


cdef inline SessionView admit(Table table, uint32_t operation, bytes token, bytes body):
    cdef SessionView view = SessionView.__new__(SessionView)
    cdef zts_verdict verdict = <zts_verdict>1
    if PyBytes_GET_SIZE(token) == ZTS_TOKEN_BYTES:
        verdict = table.verify(
            <const uint8_t *>PyBytes_AS_STRING(token), <const uint8_t *>PyBytes_AS_STRING(body),
            PyBytes_GET_SIZE(body), operation, &view.call)
    else:
        verdict = table.count_malformed()
    if verdict != ZTS_OK:
        refuse(table, operation, verdict)
    view.table = table
    return view


cdef SessionView verified(Table table, uint32_t operation, object token, object body):
    if not PyBytes_CheckExact(token):
        token = snapshot(token, "token")
    if not PyBytes_CheckExact(body):
        body = snapshot(body, "body")
    return admit(table, operation, <bytes>token, <bytes>body)


cdef int expect_positional(str what, PyObject *kwnames, Py_ssize_t given, Py_ssize_t wanted) except -1:
    if kwnames is not NULL and PyTuple_GET_SIZE(kwnames):
        raise TypeError(f"{what} takes no keyword arguments")
    if given != wanted:
        raise TypeError(f"{what} takes {wanted} positional arguments ({given} given)")
    return 0


@cython.final
cdef class Verifier:
    """Callable ``(token, body) -> SessionView`` for one operation; raises a subclass of ``Denied``.

    ``token`` is 48 bytes, ``body`` up to BODY_MAX_BYTES, both ``bytes`` (fast) or any buffer (one copy).
    """

    cdef vectorcallfunc vectorcall
    cdef Table table
    cdef uint32_t index
    cdef bint learns

    def __cinit__(self, Table table not None, operation, *, bint learns=False):
        self.vectorcall = verifier_call
        self.table = table
        self.index = ZTS_ANY_OPERATION if operation is None else operation_index(table, operation)
        self.learns = learns

    @property
    def operation(self):
        """Full name of the operation, or None where any is taken."""
        return None if self.index == ZTS_ANY_OPERATION else self.table.operations[self.index]

    def __call__(self, token, body):
        return self.one(token, body)

    def __repr__(self):
        return f"<Verifier {self.operation}>"

    cdef inline SessionView one(self, object token, object body):
        cdef SessionView view = verified(self.table, self.index, token, body)
        if self.learns:
            self.table.learn(view.call.issued_at_us)
        return view


cdef object verifier_call(object callee, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    if kwnames is not NULL or PyVectorcall_NARGS(nargsf) != 2:
        expect_positional("verify(token, body)", kwnames, PyVectorcall_NARGS(nargsf), 2)
    return (<Verifier>callee).one(<object>args[0], <object>args[1])


# ---- Signing -----------------------------------------------------------------------------------------------

@cython.final
cdef class Signer:
    """Callable ``(body) -> token`` (48 bytes) for one operation of one installation.

    Raises SessionEnded when the session is over on this side, SequenceExhausted after the last sequence,
    ValueError for a body over BODY_MAX_BYTES.
    """

    cdef vectorcallfunc vectorcall
    cdef Table table
    cdef uint64_t handle
    cdef uint32_t index

    def __cinit__(self, Table table not None, uint64_t handle, str operation not None):
        self.vectorcall = signer_call
        self.table = table
        self.handle = handle
        self.index = operation_index(table, operation)

    @property
    def operation(self):
        """Full name of the operation."""
        return self.table.operations[self.index]

    def __call__(self, body):
        return self.one(body)

    def __repr__(self):
        return f"<Signer {self.operation}>"

    cdef inline bytes one(self, object body):
        if not PyBytes_CheckExact(body):
            body = snapshot(body, "body")
        cdef bytes token = PyBytes_FromStringAndSize(NULL, ZTS_TOKEN_BYTES)
        cdef zts_status status = self.table.sign(
            self.handle, self.index, <const uint8_t *>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body),
            <uint8_t *>PyBytes_AS_STRING(token))
        if status != ZTS_DONE:
            raise_status(status)
        return token


cdef object signer_call(object callee, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    if kwnames is not NULL or PyVectorcall_NARGS(nargsf) != 1:
        expect_positional("sign(body)", kwnames, PyVectorcall_NARGS(nargsf), 1)
    return (<Signer>callee).one(<object>args[0])


# ---- The decorator -----------------------------------------------------------------------------------------

# Positional and keyword arguments that pass through without a tuple; calls with more still work.
cdef enum:
    ARGUMENTS_FAST = 16


@cython.final
cdef class Protected:
    """A handler behind a verifier: called with ``(token, body, ...)``, it runs it with ``(view, body, ...)``.

    The call is verified at once, also for an ``async def`` handler, whose coroutine exists only after that.
    On a method it binds like a function does: the instance comes first, then the view. ``__wrapped__`` is the
    bare handler.
    """

    cdef vectorcallfunc vectorcall
    cdef Table table
    cdef uint32_t index
    cdef object handler
    cdef dict __dict__

    def __cinit__(self, Table table not None, str operation not None, handler):
        if not callable(handler):
            raise TypeError(f"protect decorates a function, not {type(handler).__name__}")
        self.vectorcall = protected_call
        self.table = table
        self.index = operation_index(table, operation)
        self.handler = handler

    def __init__(self, table, operation, handler):
        import functools
        import inspect

        functools.update_wrapper(self, handler)
        if inspect.iscoroutinefunction(handler):
            mark_coroutine(self, inspect)

    @property
    def operation(self):
        """Full name of the operation."""
        return self.table.operations[self.index]

    def __get__(self, instance, owner):
        if instance is None:
            return self
        bind = getattr(self.handler, "__get__", None)
        return self if bind is None else Protected(self.table, self.operation, bind(instance, owner))

    def __call__(self, token, body, *args, **kwargs):
        if not PyBytes_CheckExact(body):
            body = snapshot(body, "body")
        return self.handler(verified(self.table, self.index, token, body), body, *args, **kwargs)

    def __repr__(self):
        return f"<protected {self.operation}: {self.handler!r}>"


cdef object mark_coroutine(Protected protected, inspect):
    """Frameworks ask whether a handler is a coroutine function; both markers that Python has had are set."""
    import asyncio.coroutines

    protected._is_coroutine = getattr(asyncio.coroutines, "_is_coroutine", True)
    protected._is_coroutine_mark = getattr(inspect, "_is_coroutine_mark", True)


cdef object protected_call(object callee, PyObject *const *args, size_t nargsf, PyObject *kwnames):
    cdef Protected self = <Protected>callee
    cdef Py_ssize_t given = PyVectorcall_NARGS(nargsf), names, i
    cdef PyObject *passed[1 + ARGUMENTS_FAST]  # one in front for the callee's own use, as the protocol allows
    names = 0 if kwnames is NULL else PyTuple_GET_SIZE(kwnames)
    if given < 2:
        raise TypeError(
            f"{self.operation} is called with a token and a body first ({given} positional given)")
    if given + names > ARGUMENTS_FAST:
        return self.__call__(*[<object>args[i] for i in range(given)],
                             **{(<tuple>kwnames)[i]: <object>args[given + i] for i in range(names)})
    body = <object>args[1]
    if not PyBytes_CheckExact(body):
        body = snapshot(body, "body")
    cdef SessionView view = verified(self.table, self.index, <object>args[0], body)
    passed[0] = NULL
    passed[1] = <PyObject *>view
    passed[2] = <PyObject *>body
    for i in range(2, given + names):
        passed[i + 1] = args[i]
    return PyObject_Vectorcall(self.handler, &passed[1], given | PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames)


# ---- Vectorcall, switched on once per type -----------------------------------------------------------------

cdef object enable_vectorcall():
    """Where the member lies in the object is asked of an object, since only the compiler knows."""
    table = Table(operations=("none",))
    cdef Verifier verifier = Verifier(table, None)
    cdef Signer signer = Signer(table, 0, "none")
    cdef Protected protected = Protected(table, "none", repr)
    zts_enable_vectorcall(<PyTypeObject *>Verifier, <char *>&verifier.vectorcall - <char *><void *>verifier)
    zts_enable_vectorcall(<PyTypeObject *>Signer, <char *>&signer.vectorcall - <char *><void *>signer)
    zts_enable_vectorcall(
        <PyTypeObject *>Protected, <char *>&protected.vectorcall - <char *><void *>protected)


enable_vectorcall()
