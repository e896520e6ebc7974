"""One HAProxy connection and the agent link that serves it."""
