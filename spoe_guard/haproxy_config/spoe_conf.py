"""spoe.conf: the agent of one engine, its timeouts and options, and the messages it is asked with.

Source: HAProxy, doc/SPOE.txt section 2; flt_spoe.c, ``cfg_parse_spoe_agent`` and ``parse_spoe_flt``.
"""

from dataclasses import dataclass, field
from typing import Final

from spoe_guard.haproxy_config.source import Source
from spoe_guard.haproxy_config.statements import Note, Reader, Section, Statement, Variables, read_sections

AGENT: Final = "spoe-agent"
MESSAGE: Final = "spoe-message"
GROUP: Final = "spoe-group"
_KINDS: Final = frozenset((AGENT, MESSAGE, GROUP))
_OF_AGENT: Final = frozenset(
    (
        "groups", "log", "max-frame-size", "max-waiting-frames", "maxconnrate", "maxerrrate", "messages", "option",
        "register-var-names", "timeout", "use-backend",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One of a message's `args`: ``name`` (empty where it has none) and the sample it is taken from."""

    name: str
    sample: str


@dataclass
class SpoeConf:
    """What a file says of one engine. ``scopes``: all scopes in the file, None for the part in front of the first.

    ``agent``: None where the engine has none there.
    """

    agent: Section | None
    notes: list[Note]
    messages: list[Section] = field(default_factory=list)
    groups: list[Section] = field(default_factory=list)
    scopes: list[str | None] = field(default_factory=list)

    def arguments(self) -> list[Argument]:
        """Return the arguments of all messages."""
        lines = [line for message in self.messages for line in message.body if line.text(0) == "args"]
        parts = [word.text.partition("=") for line in lines for word in line.words[1:]]
        return [Argument(name if equals else "", sample if equals else name) for name, equals, sample in parts]

    def events(self) -> list[Statement]:
        """Return the `event` lines of all messages."""
        return [line for message in self.messages for line in message.body if line.text(0) == "event"]


def read(source: Source, engine: str | None, variables: Variables) -> SpoeConf:
    """Return what ``source`` says of ``engine``; None: of a filter that names none, which is what stands before any scope."""
    reader = Reader(variables)
    conf = SpoeConf(None, reader.notes)
    for section, statement in read_sections(reader, source, _KINDS):
        if statement.scope not in conf.scopes:
            conf.scopes.append(statement.scope)
        if statement.scope != engine:
            if statement is not section.heading:
                section.body.pop()  # HAProxy passes over what stands in another scope, whatever section it is in
            continue
        if statement is section.heading:
            _join(section, conf)
        elif section.kind == AGENT and statement.text(0) not in _OF_AGENT:
            reader.notes.append(Note(statement.place, f"`{statement.text(0)}` is not known in a spoe-agent section"))
    return conf


def _join(section: Section, conf: SpoeConf) -> None:
    if section.kind == MESSAGE:
        conf.messages.append(section)
    elif section.kind == GROUP:
        conf.groups.append(section)
    elif conf.agent is None:
        conf.agent = section
    else:
        conf.notes.append(Note(section.heading.place, f"a second spoe-agent, {section.name}: HAProxy takes one for each engine"))
