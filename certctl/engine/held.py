"""A locked certificate: what is stored about it is read once and carried; changes are written
through.

Only one thread works with it at a time. For a dry run, `Unsaved` carries changes and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from certctl.ca.directories import directory_url, is_for_local_names, label
from certctl.engine.services import Services
from certctl.model.certificate import Material, PendingOrder, RenewalState, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import InvalidIdentifier, UnknownCertificate
from certctl.model.events import CertificateSaved
from certctl.model.names import certificate_name, single_labels
from certctl.model.ports import HeldLock, Store
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import with_wanted


def stored_spec(store: Store, name: str) -> CertificateSpec:
    """Return the saved spec of a certificate, its CA as a directory URL. Raises
    `UnknownCertificate`, and `ConfigurationError` if it is not valid.
    """
    spec = store.spec(certificate_name(name))
    spec = replace(spec, ca=directory_url(spec.ca))
    require_full_names(spec)
    return spec


def require_full_names(spec: CertificateSpec) -> None:
    """Raise `InvalidIdentifier` for names without a dot at a CA that does not issue for them."""
    local = single_labels(spec.identifiers)
    if local and not is_for_local_names(spec.ca):
        no_dot = "it has no dot" if len(local) == 1 else "they have no dot"
        raise InvalidIdentifier(
            f"{label(spec.ca)} does not issue for {', '.join(local)}: {no_dot}",
            hint=f"Give the full name, such as {local[0]}.example.com. A private CA may issue for a"
            " name of the local network: --ca https://CA/directory",
            name=spec.name,
        )


class Held:
    """The state of a certificate whose lock is held. What was never asked for is never read."""

    def __init__(self, name: str, services: Services, lock: HeldLock) -> None:
        self.name = name
        self._services = services
        self._store = services.store
        self._lock = lock
        self._saved: CertificateSpec | UnknownCertificate | None = None
        self._status: CertificateStatus | None = None
        self._versions: tuple[Version, ...] | None = None
        self._pending: PendingOrder | None = None
        self._pending_is_known = False
        self._unsaved = False

    def release(self) -> None:
        """Release the lock. Idempotent."""
        self._lock.release()

    @property
    def saved(self) -> CertificateSpec | None:
        """The saved spec; None for a certificate that has none yet. Raises `ConfigurationError`."""
        if self._saved is None:
            try:
                self._saved = stored_spec(self._store, self.name)
            except UnknownCertificate as error:
                self._saved = error
        return self._saved if isinstance(self._saved, CertificateSpec) else None

    @property
    def spec(self) -> CertificateSpec:
        """The saved spec. Raises `UnknownCertificate` and `ConfigurationError`."""
        if self.saved is None and isinstance(self._saved, UnknownCertificate):
            raise self._saved
        assert isinstance(self._saved, CertificateSpec)  # noqa: S101 - for the type checker
        return self._saved

    @property
    def status(self) -> CertificateStatus:
        """The current state."""
        if self._status is None:
            self._status = self._store.status(self.name)
        return self._status

    @property
    def live(self) -> Version | None:
        """The live version."""
        return self.status.live

    @property
    def renewal_state(self) -> RenewalState:
        """What is remembered about renewing it."""
        return self.status.renewal_state

    @property
    def deployment(self) -> Deployment:
        """The state of its deployment on this machine."""
        return self.status.deployment

    @property
    def versions(self) -> Sequence[Version]:
        """The archived versions, the oldest first."""
        if self._versions is None:
            self._versions = tuple(self._store.versions(self.name))
        return self._versions

    @property
    def pending(self) -> PendingOrder | None:
        """The order in progress."""
        if not self._pending_is_known:
            self._pending, self._pending_is_known = self._store.pending(self.name), True
        return self._pending

    @property
    def csr(self) -> bytes | None:
        """The certificate signing request that was given with `--csr`, as PEM."""
        return self._store.csr(self.name)

    def material(self, number: int, *, with_key: bool = True) -> Material:
        """Return the PEM bytes of a version. Raises `FilesDamaged`."""
        return self._store.material(self.name, number, with_key=with_key)

    def check_access(self, spec: CertificateSpec) -> None:
        """Raise `ConfigurationError` if no version of the spec could be made live."""
        self._store.check_access(spec)

    def carry(self, renewal_state: RenewalState) -> None:
        """Carry a changed renewal state; it is written with the next one that is saved."""
        self._unsaved = self._unsaved or renewal_state != self.renewal_state
        self._status = replace(self.status, renewal_state=renewal_state)

    def save_carried(self) -> None:
        """Save a renewal state that is only carried so far, for what will read it again."""
        if self._unsaved:
            now = self._services.clock.now()
            self.save_renewal_state(self.renewal_state, next_action_at=now)

    def save_renewal_state(
        self, renewal_state: RenewalState, *, next_action_at: datetime | None
    ) -> None:
        """Save the renewal state, with the time before which `renew` can skip the certificate."""
        self.carry(renewal_state)
        self._unsaved = False
        self._store.save_renewal_state(self.name, renewal_state, next_action_at=next_action_at)

    def save_deployment(self, deployment: Deployment) -> None:
        """Save the state of the deployment."""
        self._carry_deployment(deployment)
        self._store.save_deployment(self.name, deployment)

    def save_spec(self, spec: CertificateSpec) -> None:
        """Save the spec, unless it is saved already."""
        self._store.save_spec(spec)
        self._saved = spec

    def grant_access(self, spec: CertificateSpec) -> None:
        """Apply the key group and mode of the spec to the private keys of all versions."""
        self._store.grant_access(spec)

    def save_csr(self, pem: bytes) -> None:
        """Save a certificate signing request, for renewals."""
        self._store.save_csr(self.name, pem)

    def save_pending(self, pending: PendingOrder) -> None:
        """Save the order that is about to be placed, or its URL once known."""
        self._pending, self._pending_is_known = pending, True
        self._store.save_pending(self.name, pending)

    def drop_pending(self) -> None:
        """Delete the saved order."""
        self._pending, self._pending_is_known = None, True
        self._store.drop_pending(self.name)

    def save_refused(self, download: bytes) -> None:
        """Save a rejected download for inspection; replaces the previous one."""
        self._store.save_refused(self.name, download)

    def add_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:
        """Archive a version, and make it wanted and live; return it with its number."""
        saved = self._store.save_version(spec, version, material)
        self._made_live(saved)
        if self._versions is not None:
            self._versions = (*self._versions, saved)
        self._services.emit(
            CertificateSaved(
                self.name, self._services.clock.now(), saved.number, saved.facts.not_after
            )
        )
        return saved

    def activate(self, version: Version) -> None:
        """Make an archived version wanted and live. Raises `FilesDamaged`, `UnknownCertificate`."""
        self._store.activate(self.name, version.number)
        self._made_live(version)

    def activate_number(self, number: int) -> None:
        """Make the archived version with this number wanted and live. Raises as `activate` does."""
        version = self._version(number)
        if version is None:
            raise UnknownCertificate(f"{self.name} has no version {number}", name=self.name)
        self.activate(version)

    def revert_live(self, version: Version) -> None:
        """Make an archived version live; the wanted version stays, and counts as not deployed."""
        self._store.revert_live(self.name, version.number)
        wanted = self._version(self.deployment.wanted)
        not_live = None if wanted is None or wanted.number == version.number else wanted
        self._status = replace(self.status, live=version, wanted_not_live=not_live, damage=None)

    def restore_files(self, version: Version) -> Sequence[str]:
        """Restore the damaged files of the live version from its other files; return their names.
        Raises `FilesDamaged` if that is not possible.
        """
        restored = self._store.restore_files(self.name, version.number)
        self._status = replace(self.status, damage=None)
        return restored

    def prune(self, keep: int) -> None:
        """Remove the oldest versions beyond `keep`, except those live, wanted or deployed."""
        self._store.prune(self.name, keep)
        self._versions = None

    def delete(self) -> None:
        """Delete the certificate, its spec first."""
        self._store.delete(self.name)

    def _version(self, number: int | None) -> Version | None:
        return next((each for each in self.versions if each.number == number), None)

    def _carry_deployment(self, deployment: Deployment) -> None:
        others = [
            each for each in self.status.deployments if each.destination != deployment.destination
        ]
        self._status = replace(self.status, deployments=(deployment, *others))

    def _made_live(self, version: Version) -> None:
        self._carry_deployment(with_wanted(self.deployment, version.number))
        self._status = replace(self.status, live=version, wanted_not_live=None, damage=None)


class Unsaved(Held):
    """A certificate in a dry run: changes are carried, and nothing is written."""

    def save_renewal_state(
        self,
        renewal_state: RenewalState,
        *,
        next_action_at: datetime | None,  # noqa: ARG002 - not kept
    ) -> None:
        self.carry(renewal_state)

    def save_deployment(self, deployment: Deployment) -> None:
        self._carry_deployment(deployment)

    def save_spec(self, spec: CertificateSpec) -> None:
        self._saved = spec

    def grant_access(self, spec: CertificateSpec) -> None:
        pass

    def save_csr(self, pem: bytes) -> None:
        pass

    def save_pending(self, pending: PendingOrder) -> None:
        self._pending, self._pending_is_known = pending, True

    def drop_pending(self) -> None:
        self._pending, self._pending_is_known = None, True

    def save_refused(self, download: bytes) -> None:
        pass

    def add_version(self, spec: CertificateSpec, version: Version, material: Material) -> Version:  # noqa: ARG002 - not kept
        self._made_live(version)
        return version

    def activate(self, version: Version) -> None:
        self._made_live(version)

    def revert_live(self, version: Version) -> None:
        self._status = replace(self.status, live=version)

    def restore_files(self, version: Version) -> Sequence[str]:  # noqa: ARG002 - not restored
        return ()

    def prune(self, keep: int) -> None:
        pass

    def delete(self) -> None:
        pass
