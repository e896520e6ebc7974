"""The live page and ``/api/status``: how each route does now, the last minutes, and the last anomalies with their frames."""
