cimport cython

from spoe_guard.net cimport calls
from spoe_guard.wire cimport walk

cdef Py_ssize_t _TYPE_AT, _NUMBER_AT, _STATE_AT, _ENDS_AT, _UNREAD_AT, _ATTRIBUTES_AT, _MOST_ANSWERS
cdef bint _BIG_ENDIAN
cdef bytes _TOLD


@cython.final
cdef class Kernel:
    cdef object _connect, _netlink
    cdef int _fd
    cdef Py_ssize_t _number
    cdef bytes _answer

    @cython.locals(answer=bytes, _=Py_ssize_t)
    cdef Py_ssize_t unread(self, Question question) except -2
    @cython.locals(answer=bytes)
    cdef received(self)


@cython.final
cdef class Question:
    cdef bytes _ends
    cdef bytearray _text

    @cython.locals(text=bytearray)
    cpdef bytes numbered(self, Py_ssize_t number)
    @cython.locals(first=Py_ssize_t, second=Py_ssize_t, third=Py_ssize_t, fourth=Py_ssize_t)
    cdef Py_ssize_t unread(self, bytes answer) except -2


@cython.final
cdef class Unread:
    cdef Kernel _kernel
    cdef object _sock
    cdef bint _is_unix
    cdef Question _unread, _received

    @cython.locals(unsent=Py_ssize_t, unread=Py_ssize_t)
    cpdef count(self, int fd)
    cdef _on_its_way(self, Py_ssize_t unsent, Question unread)
