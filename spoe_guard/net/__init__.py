"""Sockets and event loops: listeners, the two legs of a session, dialling, timers, back-pressure, drain."""
