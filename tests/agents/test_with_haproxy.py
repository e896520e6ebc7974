"""Each agent behind each HAProxy, without the guard: one request succeeds."""

from tests.integration.haproxy import Haproxy, Options


def test_a_request_gets_its_answer(generation, agent_kind, start_agent, tmp_path):
    agent = start_agent(agent_kind)
    with Haproxy(tmp_path, agent.address, Options(program=generation.program)) as haproxy:
        seen = haproxy.get("/path")
        assert (seen.status, seen.error, seen.allowed, seen.echo) == (200, "", "1", "/path"), haproxy.log()
