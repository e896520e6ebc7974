"""A transparent proxy between HAProxy and an SPOE agent, keeping the protocol's promises to both."""

__version__ = "0.1.0"
