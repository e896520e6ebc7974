"""The life of a process: start, signals, reload, stop."""
