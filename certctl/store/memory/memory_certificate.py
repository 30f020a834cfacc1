"""What is kept in memory about one certificate, with the generations of its documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.spec import CertificateSpec
from certctl.rules.remembered_times import in_future
from certctl.store.records import NOTHING, Gen, NextAction

SPEC, STATE, ORDERS = "the specification", "the renewal state", "the order in progress"
"""The documents of which the writes are counted, as errors name them."""

_DOCUMENTS = (SPEC, STATE, ORDERS)


@dataclass
class MemoryCertificate:
    """What is stored about one certificate; `written` counts the writes of each document."""

    origin: Gen = NOTHING
    spec: CertificateSpec | None = None
    csr: bytes | None = None
    renewal_state: RenewalState = field(default_factory=RenewalState)
    saved_at: datetime | None = None
    next_action: NextAction | None = None
    decided_from: int = -1
    orders: tuple[PendingOrder, ...] = ()
    versions: dict[int, Version] = field(default_factory=dict)
    material: dict[int, Material] = field(default_factory=dict)
    last_version: int = 0
    written: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_DOCUMENTS, 0))

    @property
    def gen(self) -> Gen:
        """The generation of what is stored."""
        return self.gen_of(self.written)

    def gen_of(self, counts: Mapping[str, int]) -> Gen:
        """Return a generation: the counts, or until something is written that of the base."""
        if not any(counts.values()):
            return self.origin
        return Gen(".".join(str(each) for each in counts.values()))

    def counts(self, expect: Gen) -> Mapping[str, int]:
        """Return the counts that `expect` stands for; those of nothing else are negative."""
        if expect == self.origin:
            return dict.fromkeys(_DOCUMENTS, 0)
        counts = expect.split(".")
        if len(counts) != len(_DOCUMENTS) or not all(each.isdigit() for each in counts):
            return dict.fromkeys(_DOCUMENTS, -1)
        return dict(zip(_DOCUMENTS, map(int, counts), strict=True))

    def is_idle(self, now: datetime) -> bool:
        """Return whether `renew` has nothing to do with the certificate yet."""
        if self.next_action is None or self.decided_from != self.written[SPEC]:
            return False
        if self.renewal_state.failures or self.orders or in_future(self.saved_at, now):
            return False
        return self.next_action.at is None or now < self.next_action.at
