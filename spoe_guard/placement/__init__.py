"""How the guard takes the agent's place in HAProxy's configuration: `init`, and `check` with HAProxy's files."""
