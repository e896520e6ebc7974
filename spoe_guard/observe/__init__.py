"""What an operator sees: metrics, logs, and the admin address that serves metrics and health."""
