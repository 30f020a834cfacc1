"""`Services`: what operations need, built once by the command line or by a library's caller.

What a run shares and must release is in `certctl.engine.run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from random import Random

from certctl.dns.system import no_terminal
from certctl.model.ca import OpenedConnection
from certctl.model.events import EventSink
from certctl.model.lazy_dataclass import dataclass
from certctl.model.ports import Ask, Clock, EndpointFactory, Instruct, Tree
from certctl.rules.settings import Settings
from certctl.store.machine import Machine
from certctl.store.records import Records


@dataclass(frozen=True)
class Services:
    """The dependencies of an operation.

    `endpoints` maps the directory URL of each CA that runs inside this process to its factory.
    `opened` is a connection to a CA that is being opened already, if any.
    """

    records: Records
    machine: Machine
    tree: Tree
    clock: Clock
    settings: Settings
    emit: EventSink
    ask: Ask
    instruct: Instruct = no_terminal
    random: Random = field(default_factory=Random)
    endpoints: Mapping[str, EndpointFactory] = field(default_factory=dict)
    opened: OpenedConnection | None = None
