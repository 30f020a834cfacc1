"""What a dry run knows of this machine: what becomes live or deployed in it is kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from certctl.model.certificate import Version
from certctl.model.delivery import Deployment
from certctl.model.ports import HeldLock
from certctl.model.spec import CertificateSpec
from certctl.store.machine import CertificateMachine, OnMachine


class UnchangedMachine:
    """Implements `certctl.store.machine.CertificateMachine` over another one, of which nothing is
    changed: what becomes live or deployed is only kept here.
    """

    def __init__(self, base: CertificateMachine) -> None:
        self._base = base
        self._states: dict[str, OnMachine] = {}

    def lock(self, name: str, *, timeout: float) -> HeldLock:
        return self._base.lock(name, timeout=timeout)

    def read(self, name: str) -> OnMachine:
        return self._states.get(name) or self._base.read(name)

    def damage(self, version: Version) -> str | None:
        return self._base.damage(version) if version.name not in self._states else None

    def restore_files(self, name: str, number: int) -> Sequence[str]:  # noqa: ARG002 - not restored
        return ()

    def flip(self, name: str, number: int) -> None:
        self._states[name] = replace(self.read(name), live=number)

    def save_deployment(self, name: str, deployment: Deployment) -> None:
        state = self.read(name)
        others = (each for each in state.deployments if each.destination != deployment.destination)
        self._states[name] = replace(state, deployments=(deployment, *others))

    def forget(self, name: str) -> None:
        self._states[name] = OnMachine(name)

    def check_access(self, spec: CertificateSpec) -> None:
        self._base.check_access(spec)

    def grant_access(self, spec: CertificateSpec) -> None:
        """Change nothing."""

    def save_refused(self, name: str, download: bytes) -> None:
        """Keep nothing."""
