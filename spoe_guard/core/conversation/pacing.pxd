cimport cython


cdef int _BURST_BYTES
cdef double _WINDOW_S


@cython.final
cdef class Pace:
    cdef public bytes queue
    cdef Py_ssize_t _sent, _before
    cdef double _last, _slot_ends

    cpdef bint has_room(self, Py_ssize_t size, double now) except -1
    cpdef bint passes(self, Py_ssize_t size, double now) except -1
