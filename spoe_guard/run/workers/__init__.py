"""``workers: N``: several processes behind the same addresses, and one that starts them, watches them and speaks for them.

With one worker nothing of this is imported. A worker is a Python of its own (``python -m spoe_guard.run.workers``), not a fork:
the parent has an event loop and a thread for its log, neither of which lives through a fork.
"""
