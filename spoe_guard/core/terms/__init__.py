"""The words of the core: anomalies, events, states, settings of a session, and what a step asks for."""
