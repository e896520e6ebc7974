"""Bytes to values and back: varints, typed data, frames, lists, messages, actions. No state, no I/O, nothing raised on peer input."""
