"""``workers: N``: several processes behind the same addresses, and a parent that starts, watches and reports on them.

With one worker none of this is imported. A worker is a new Python process (``python -m spoe_guard.run.workers``), not a fork:
the parent has an event loop and a thread for its log, and neither survives a fork.
"""
