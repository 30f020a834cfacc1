"""A locked certificate: what is stored about it is read once and carried; changes are written
through.

Only one thread works with it at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from certctl.ca.directories import directory_urls, is_for_local_names, label
from certctl.engine.current import state_of
from certctl.engine.services import Services
from certctl.model.certificate import Material, PendingOrder, RenewalState, Request, Version
from certctl.model.delivery import THIS_MACHINE, Deployment
from certctl.model.errors import CertctlError, InvalidIdentifier, UnknownCertificate
from certctl.model.events import CertificateSaved
from certctl.model.names import certificate_name, single_labels
from certctl.model.ports import HeldLock
from certctl.model.spec import CertificateSpec
from certctl.model.status import CertificateStatus
from certctl.rules.renewal import with_wanted
from certctl.store.changed_versions import ChangedVersions
from certctl.store.machine import CertificateMachine, OnMachine
from certctl.store.records import Changes, Lease, ListRow, NextAction, Records, Stored


def stored_spec(records: Records, name: str) -> CertificateSpec:
    """Return the saved spec of a certificate, its CA as a directory URL. Raises
    `UnknownCertificate`, and `ConfigurationError` if it is not valid.
    """
    return checked_spec(records.spec(certificate_name(name)))


def checked_spec(spec: CertificateSpec) -> CertificateSpec:
    """Return a spec as it was saved, its CAs as directory URLs. Raises `UsageError`."""
    spec = with_urls(spec)
    require_full_names(spec)
    return spec


def with_urls(spec: CertificateSpec) -> CertificateSpec:
    """Return a spec with its CAs as directory URLs. Raises `UsageError` if one is not known, or if
    they cannot be combined.
    """
    ca, *others = directory_urls(spec.cas)
    return replace(spec, ca=ca, fallback_cas=tuple(others))


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
    """A certificate of which the lease of the records and the lock of this machine are held.

    What was never asked for is never read. For a dry run, `records` and `machine` are overlays.
    """

    def __init__(
        self,
        name: str,
        services: Services,
        records: Records,
        machine: CertificateMachine,
        locks: tuple[Lease, HeldLock],
    ) -> None:
        self.name = name
        self._services = services
        self._records = records
        self._machine = machine
        self._lease, self._lock = locks
        self._stored: Stored | None = None
        self._here: OnMachine | None = None
        self._saved: CertificateSpec | None = None
        self._status: CertificateStatus | None = None
        self._unsaved = False
        self.added: tuple[Version, ...] = ()
        """The versions that were archived while the certificate was held."""
        self.failed: dict[str, CertctlError] = {}
        """The CAs that failed while the certificate was held, each with its error."""

    def release(self) -> None:
        """Release the locks. Idempotent."""
        self._lock.release()
        self._lease.release()

    @property
    def stored(self) -> Stored:
        """What is stored about the certificate, as of the last write."""
        if self._stored is None:
            self._stored = self._records.read(self.name) or Stored(self.name)
        return self._stored

    @property
    def here(self) -> OnMachine:
        """The state of the certificate on this machine, as of the last write."""
        if self._here is None:
            self._here = self._machine.read(self.name)
        return self._here

    @property
    def saved(self) -> CertificateSpec | None:
        """The saved spec; None for a certificate that has none yet. Raises `ConfigurationError`."""
        if self._saved is None and (self.stored.spec or self.stored.spec_error):
            self._saved = checked_spec(self.stored.require_spec())
        return self._saved

    @property
    def spec(self) -> CertificateSpec:
        """The saved spec. Raises `UnknownCertificate` and `ConfigurationError`."""
        return self.saved or self.stored.require_spec()

    @property
    def status(self) -> CertificateStatus:
        """The current state."""
        if self._status is None:
            now = self._services.clock.now()
            self._status = state_of(self.stored, self.here, self._machine, now)
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
        return tuple(self.stored.versions.values())

    @property
    def pending(self) -> tuple[PendingOrder, ...]:
        """The orders in progress, at most one for each CA and key type."""
        return self.stored.orders

    def pending_like(self, request: Request) -> PendingOrder | None:
        """Return the order in progress for the CA and the key type of a request."""
        subject = request.ca, request.key_type
        return next((each for each in self.pending if each.subject == subject), None)

    @property
    def csr(self) -> bytes | None:
        """The certificate signing request that was given with `--csr`, as PEM."""
        return self.stored.csr

    def material(self, number: int, *, with_key: bool = True) -> Material:
        """Return the PEM bytes of a version. Raises `FilesDamaged`."""
        return self._records.material(self.name, number, with_key=with_key)

    def check_access(self, spec: CertificateSpec) -> None:
        """Raise `ConfigurationError` if no version of the spec could be made live."""
        self._machine.check_access(spec)

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
        self,
        renewal_state: RenewalState,
        *,
        next_action_at: datetime | None,
        row: ListRow | None = None,
    ) -> None:
        """Save the renewal state, with the time before which `renew` can skip the certificate, and
        what `list` shows of it meanwhile; then drop the order of a version that is archived and
        wanted, and those that other CAs were asked for before. Until it is wanted, its order tells
        the next run that it is there.
        """
        self.carry(renewal_state)
        self._unsaved = False
        action = NextAction(next_action_at, row)
        orders = tuple(each for each in self.stored.orders if not self._is_unneeded(each))
        self._write(Changes(renewal_state=renewal_state, next_action=action, orders=orders))

    def save_deployment(self, deployment: Deployment) -> None:
        """Save the state of a deployment."""
        self._machine.save_deployment(self.name, deployment)
        self._carry_deployment(deployment)
        others = _without(self.here.deployments, deployment)
        self._here = replace(self.here, deployments=(deployment, *others))

    def save_spec(self, spec: CertificateSpec) -> None:
        """Save the spec, unless it is saved already. Raises `Conflict` if a user has edited it."""
        self._write(Changes(spec=spec))
        self._saved = spec

    def grant_access(self, spec: CertificateSpec) -> None:
        """Apply the key group and mode of the spec to the private keys of all versions."""
        self._machine.grant_access(spec)

    def save_csr(self, pem: bytes) -> None:
        """Save a certificate signing request, for renewals."""
        self._write(Changes(csr=pem))

    def save_pending(self, pending: PendingOrder) -> None:
        """Save the order that is about to be placed, or its URL once known, or what was issued for
        it; others for the same CA and key type are dropped.
        """
        others = [each for each in self.pending if each.subject != pending.subject]
        self._write(Changes(orders=(*others, pending)))

    def drop_pending(self, dropped: PendingOrder | None = None) -> None:
        """Delete the saved order for the same CA and key type, by default all."""
        kept = (each for each in self.pending if dropped and each.subject != dropped.subject)
        self._keep_orders(tuple(kept))

    def keep_pending(self, requests: Sequence[Request]) -> None:
        """Delete the saved orders that are for another CA or key type than all of these."""
        subjects = {(each.ca, each.key_type) for each in requests}
        self._keep_orders(tuple(each for each in self.pending if each.subject in subjects))

    def _keep_orders(self, kept: tuple[PendingOrder, ...]) -> None:
        if len(kept) < len(self.pending):
            self._write(Changes(orders=kept))

    def save_refused(self, download: bytes) -> None:
        """Save a rejected download for inspection; replaces the previous one."""
        self._machine.save_refused(self.name, download)

    def add_version(self, version: Version, material: Material, *, waits: bool = False) -> Version:
        """Archive a version, and make it wanted and live, or with `waits` only record that it waits
        for its deploy window; return it with its number.

        A crash after the first step leaves a version with the URL of the order in progress; a crash
        after the second, a wanted version that is not live: its deployment is pending.
        """
        stored, status = self.stored, self.status
        saved = self._records.add_version(self.name, version, material, token=self._lease.token)
        self._stored = replace(
            stored,
            versions=ChangedVersions(stored.versions, added=[saved]),
            numbers=(*stored.numbers, saved.number),
            last_version=saved.number,
        )
        self.added = (*self.added, saved)
        if waits:
            self.await_window(saved)
        else:
            self.save_deployment(with_wanted(status.deployment, saved.number))
            self._flip(saved)
        self._services.emit(
            CertificateSaved(self.name, self._services.clock.now(), saved.number, saved.not_after)
        )
        return saved

    def await_window(self, version: Version) -> None:
        """Record that an archived version waits for its deploy window; the live one stays."""
        self.save_deployment(replace(self.deployment, waiting=version.number))
        self._status = replace(self.status, waiting=version)

    def activate(self, version: Version) -> None:
        """Make an archived version wanted and live. Raises `FilesDamaged`, `UnknownCertificate`."""
        self._machine.restore_files(self.name, version.number)
        known = any(each.destination == THIS_MACHINE for each in self.here.deployments)
        if not known or self.deployment.wanted != version.number:
            self.save_deployment(with_wanted(self.deployment, version.number))
        self._flip(version)

    def activate_number(self, number: int) -> None:
        """Make the archived version with this number wanted and live. Raises as `activate` does."""
        version = self.stored.versions.get(number)
        if version is None:
            raise UnknownCertificate(f"{self.name} has no version {number}", name=self.name)
        self.activate(version)

    def revert_live(self, version: Version) -> None:
        """Make an archived version live; the wanted version stays, and counts as not deployed."""
        self._flip(version)

    def restore_files(self, version: Version) -> Sequence[str]:
        """Restore the damaged files of the live version from its other files; return their names.
        Raises `FilesDamaged` if that is not possible.
        """
        restored = self._machine.restore_files(self.name, version.number)
        self._status = replace(self.status, damage=None)
        return restored

    def prune(self, keep: int, spared: Callable[[Sequence[int]], Collection[int]]) -> None:
        """Remove the oldest versions beyond `keep`, except those that are live, or wanted or
        deployed anywhere, and those that `spared` returns.
        """
        stored, needed = self.stored, {self.here.live}
        for each in self.status.deployments:
            needed |= {each.wanted, each.deployed, each.waiting}
        oldest = stored.numbers[: max(len(stored.numbers) - max(keep, 1), 0)]
        gone = [number for number in oldest if number not in needed]
        if gone:
            kept = spared(gone)
            gone = [number for number in gone if number not in kept]
        if not gone:
            return
        self._records.remove_versions(self.name, gone, token=self._lease.token)
        self._stored = replace(
            stored,
            versions=ChangedVersions(stored.versions, removed=gone),
            numbers=tuple(number for number in stored.numbers if number not in gone),
        )

    def delete(self) -> None:
        """Delete the certificate, its spec first."""
        self._records.delete(self.name, expect=self.stored.gen, token=self._lease.token)
        self._machine.forget(self.name)

    def _write(self, changes: Changes) -> None:
        """Write changes through, and carry them."""
        stored = self.stored
        gen = self._records.write(self.name, changes, expect=stored.gen, token=self._lease.token)
        self._stored = stored.after(changes, gen)

    def _is_unneeded(self, order: PendingOrder) -> bool:
        wanted = self.deployment.wanted or 0
        version = self.stored.version_of([order.url])
        if version is not None:
            return version.number <= max(wanted, self.deployment.waiting or 0)
        newest = self.stored.versions.get(wanted)
        return (
            newest is not None
            and newest.request.ca != order.request.ca
            and order.created <= newest.issued
        )

    def _flip(self, version: Version) -> None:
        self._machine.flip(self.name, version.number)
        self._here = replace(self.here, live=version.number)
        wanted = self.stored.versions.get(self.deployment.wanted or 0)
        not_live = None if wanted is None or wanted.number == version.number else wanted
        newer = self.status.waiting
        if newer is not None and newer.number != self.deployment.waiting:
            newer = None
        self._status = replace(
            self.status, live=version, wanted_not_live=not_live, damage=None, waiting=newer
        )

    def _carry_deployment(self, deployment: Deployment) -> None:
        others = _without(self.status.deployments, deployment)
        self._status = replace(self.status, deployments=(deployment, *others))


def _without(deployments: Sequence[Deployment], replaced: Deployment) -> list[Deployment]:
    return [each for each in deployments if each.destination != replaced.destination]
