cimport cython

cdef Py_ssize_t _MAX_VARINT, _OK, _INCOMPLETE, _BAD, _MALFORMED, _EMPTY, _BAD_VALUE, _SPECIAL
cdef int _SET_VAR, _UNSET_VAR, _SCOPE_PROC, _SCOPE_SESS, _SCOPE_RES, _LONGEST_SESS, _LONGEST

@cython.locals(first=Py_ssize_t, second=Py_ssize_t, third=Py_ssize_t)
cpdef Py_ssize_t length_at(bytes buf, Py_ssize_t pos) except -100
@cython.locals(length=Py_ssize_t, after=Py_ssize_t)
cpdef Py_ssize_t whole_end(bytes buf, Py_ssize_t pos, Py_ssize_t end, int kind, Py_ssize_t size) except -1
@cython.locals(stream_id=cython.longlong, frame_id=cython.longlong, digit=cython.longlong, shift=int, at=Py_ssize_t)
cpdef long long pack_ids(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -1
@cython.locals(after=Py_ssize_t)
cpdef Py_ssize_t ids_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(cap=Py_ssize_t, at=Py_ssize_t)
cpdef Py_ssize_t varint_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
cdef bint _wraps(bytes buf, Py_ssize_t pos) except -1
@cython.locals(length=Py_ssize_t, after=Py_ssize_t, at=Py_ssize_t, digit=Py_ssize_t, shift=int)
cpdef Py_ssize_t string_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(kind=int, after=Py_ssize_t)
cpdef Py_ssize_t value_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(after=Py_ssize_t)
cpdef Py_ssize_t pair_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(count=int)
cpdef Py_ssize_t message_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
cpdef Py_ssize_t check_messages(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(kind=int)
cpdef Py_ssize_t action_end(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
@cython.locals(after=Py_ssize_t)
cpdef Py_ssize_t actions_stop(bytes buf, Py_ssize_t pos, Py_ssize_t end, Py_ssize_t most) except -1
@cython.locals(after=Py_ssize_t)
cpdef Py_ssize_t check_actions(bytes buf, Py_ssize_t pos, Py_ssize_t end) except -100
cdef int _longest_plain_name(int scope) except -100
@cython.locals(last=int)
cpdef Py_ssize_t bad_value_at(bytes buf, Py_ssize_t pos, Py_ssize_t after) except -100
