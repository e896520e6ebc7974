# The same in C, made part of whoever cimports this: a head of numbers as ``HEAD`` has them, and a copy.
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static inline void spoe_guard_write(char *to, double now, int32_t link_id, int64_t mark, const char *data, uint32_t size) {
        struct { double now; int64_t mark; uint32_t size; int32_t link_id; } head = {now, mark, size, link_id};
        memcpy(to, &head, sizeof head);
        memcpy(to + sizeof head, data, size);
    }
    """
    void spoe_guard_write(char *to, double now, int link_id, long long mark, const char *data, unsigned int size)


cdef inline void write(bytearray into, Py_ssize_t at, double now, int link_id, long long mark, bytes data):
    spoe_guard_write(PyByteArray_AS_STRING(into) + at, now, link_id, mark, PyBytes_AS_STRING(data), <unsigned int>len(data))
