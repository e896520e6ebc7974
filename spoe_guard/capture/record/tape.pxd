cimport cython

from spoe_guard.capture.record cimport memory

cdef int _HEAD_BYTES, _HIGHEST


@cython.final
cdef class Tape:
    cdef bytearray _bytes
    cdef readonly Py_ssize_t used

    @cython.locals(end=Py_ssize_t)
    cpdef put(self, double now, long long link_id, long long mark, bytes data)
