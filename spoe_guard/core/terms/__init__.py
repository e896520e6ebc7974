"""The vocabulary of the core: anomalies, events, states, settings of a session, and the orders of a step."""
