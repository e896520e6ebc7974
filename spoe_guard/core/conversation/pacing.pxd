cimport cython


@cython.final
cdef class Pace:
    cdef public bytearray queue
    cdef public double due
    cdef object _read, _crowd
    cdef list _marks
    cdef Py_ssize_t _most, _part, _written, _stop, _from
    cdef double _wait_s, _guess_at

    cpdef bint has_room(self, Py_ssize_t size, double now) except -1
    cpdef int wrote(self, Py_ssize_t size) except -1
    cdef bint _fits(self, Py_ssize_t size) except -1
    cdef bint _finds_room(self, Py_ssize_t size, double now) except -1
    @cython.locals(marks=list, last=Py_ssize_t, at=Py_ssize_t, before=Py_ssize_t)
    cdef int _mark(self) except -1
