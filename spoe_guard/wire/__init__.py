"""Bytes to values and back: varints, typed data, frames, lists, messages, actions. No state; nothing raised on peer input."""
