"""The two families of HAProxy: what hurts the one may be harmless to the other.

``applet`` is HAProxy up to 3.0 (``flt_spoe.c``), ``mux`` is 3.1 and later (``mux_spop.c``). What is safe for the mux is safe for
both.
"""

import enum


@enum.unique
class Family(enum.Enum):
    """The family, as far as it is known."""

    UNKNOWN = "unknown"  # treated like the mux
    APPLET = "applet"
    MUX = "mux"
