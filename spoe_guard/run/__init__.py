"""What a process is: start, signals, reload, stop."""
