"""A misbehaving agent, and HAProxy's side of SPOP by hand: for the demo and the tests.

Built on wire/ alone, so that it cannot share the guard's mistakes.
"""
