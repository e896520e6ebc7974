"""The control socket: what is asked of a running guard, and changed in it, over a Unix socket (docs/control.md)."""
