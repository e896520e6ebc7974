"""Fixtures that start real agents and real HAProxys."""

from tests.agents.real import agent_kind, start_agent
from tests.integration.generations import generation

__all__ = ["agent_kind", "generation", "start_agent"]
