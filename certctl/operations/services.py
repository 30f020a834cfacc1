"""What operations are given: `Services`, built once by the face or by a library's caller.

Nothing here does anything; what a run shares and must give back is `certctl.operations.run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from certctl.dns.system import no_terminal
from certctl.events import EventSink
from certctl.ports import Ask, Clock, EndpointFactory, Instruct, Store, Tree
from certctl.settings import Settings


@dataclass(frozen=True)
class Services:
    """Everything that an operation may use, each a parameter of the program.

    `endpoints` maps the name of a CA that runs inside this process to what starts it.
    """

    store: Store
    tree: Tree
    clock: Clock
    settings: Settings
    emit: EventSink
    ask: Ask
    instruct: Instruct = no_terminal
    random: Random = field(default_factory=Random)
    endpoints: Mapping[str, EndpointFactory] = field(default_factory=dict)
