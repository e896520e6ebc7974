"""Reads HAProxy's own files, haproxy.cfg and spoe.conf, as far as the guard has to know them.

It knows nothing of the guard. What it cannot understand it names, with file and line, and goes on; see
docs/decisions/0012-own-parser-of-haproxy-cfg.md for why it is no library.
"""
