"""Takes certificates over from other ACME clients.

Nothing is ordered. The version, the account and the specification are saved first; then, by steps
that are recorded before the first one, the other client stops renewing the certificate, certctl's
specification is saved, and the paths that programs read become links to certctl's files. After a
kill, one of the two clients renews the certificate, or the next run of `renew` finishes the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from certctl.deploy.loading import target_names
from certctl.engine.delivery.live_check import check_live
from certctl.engine.delivery.live_version import mark_undeployed
from certctl.engine.delivery.steps import Rollout, Target, new_rollout, targets_of
from certctl.engine.held import Held
from certctl.engine.remember import remember
from certctl.engine.run import Run
from certctl.importers import handover
from certctl.importers.system import read_pair
from certctl.importers.tree import Tree
from certctl.model.certificate import CertificateFacts, Material, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import (
    CertctlError,
    Interrupted,
    StoreError,
    UsageError,
)
from certctl.model.importing import (
    FoundCertificate,
    FoundMachine,
    ImportRecord,
    ImportState,
    TakenPath,
)
from certctl.model.names import parse_identifiers
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.adopted_accounts import account_of, account_text
from certctl.operations.import_lock import client_lock, journalled_lock
from certctl.operations.import_spec import (
    account_url_of,
    choices_of,
    free_name,
    history_of,
    lineage_of,
    save_credentials,
    spec_of,
    version_of,
)
from certctl.operations.import_undo import Taken, give_back_held
from certctl.rules.service_address import format_service
from certctl.system.effective_user import acting_as
from certctl.system.trust import check_trusted


def take_over(
    found: FoundCertificate,
    machine: FoundMachine,
    given: Mapping[str, Value],
    run: Run,
    *,
    history: bool = False,
) -> Taken:
    """Take a certificate over, and return the steps that were done. Nothing is ordered.

    If a server refuses the files, everything is undone. Raises `CertctlError` if it was not taken
    over, or if it was and its deployment is pending.
    """
    if found.material is None or found.facts is None:
        raise UsageError(f"{found.name} has no certificate", code="import.not_moved")
    held = _held(found, run)
    account = account_of(found, machine, given, run)
    credentials = save_credentials(found, run)
    choices = choices_of(found, account.directory_url, account, given, credentials)
    spec = spec_of(held.name, found.facts.identifiers, choices, run)
    held.check_access(spec)
    record = _record(found, found.facts, spec, run)
    with journalled_lock(record, ImportState.PREPARING, run):
        record, targets = _prepared(found, record, spec, machine, run)
        older = history_of(found, machine) if history else ()
        run.services.machine.imports.save(record)
        try:
            version = _hand_over(record, held, run, older, found.csr)
            rollout = _verified(held, version, targets, run)
            if rollout.error is not None:
                raise rollout.error
            hooks = _take_hooks(found, machine, run)
        except CertctlError:
            _put_back(record, held, run)
            raise
    run.services.machine.imports.save(replace(record, state=ImportState.DONE))
    steps = [
        ("account", account_text(account)),
        ("version", f"{version.number} = {found.files.fullchain}; nothing was ordered"),
        ("spec", f"certificates/{held.name}.toml"),
        *(("hooks", each) for each in hooks),
        *_client_steps(record),
        *_served(rollout),
    ]
    remember(held, run)
    return Taken(found, held.name, tuple(steps))


def _prepared(
    found: FoundCertificate,
    record: ImportRecord,
    spec: CertificateSpec,
    machine: FoundMachine,
    run: Run,
) -> tuple[ImportRecord, tuple[Target, ...]]:
    """Return the record with the paths as they are, and the programs that read them. Raises
    `CertctlError` if the certificate cannot be taken over as it was read.
    """
    _require_unchanged(found, record)
    copied = frozenset(each.to for each in spec.deploy.copies)
    record = replace(record, paths=handover.taken_paths(record, copied))
    return record, _targets(spec, machine, record.paths, run)


def _held(found: FoundCertificate, run: Run) -> Held:
    """Lock certctl's name for the certificate. Raises `UsageError` if there is one already."""
    name = free_name(found, run)
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    if held.saved is not None or run.services.machine.imports.find(name) is not None:
        raise UsageError(
            f"certctl has a certificate named {name} already; it is left alone",
            hint=f"See it with: certctl show {name}; or give this one another name: --name NAME",
            name=name,
            code="import.exists",
        )
    return held


def _record(
    found: FoundCertificate, facts: CertificateFacts, spec: CertificateSpec, run: Run
) -> ImportRecord:
    return ImportRecord(
        client=found.client,
        name=found.name,
        home=found.home,
        certificate=spec.name,
        state=ImportState.HANDING_OVER,
        identifiers=tuple(each.value for each in facts.identifiers),
        choices=spec.chosen,
        files=found.files,
        taken_sha256=facts.sha256,
        taken_at=run.services.clock.now(),
        stop=found.stop,
        lock=found.lock,
        lineage=lineage_of(found),
        archive=found.archive,
        account_key_file=found.account_key_file,
        owner=found.owner,
        owned=found.owned,
        within=found.within,
    )


def _require_unchanged(found: FoundCertificate, record: ImportRecord) -> None:
    """Raise `UsageError` if the client has changed the certificate since it was read, or if what
    makes it renew it is not where it was; its lock is held now.
    """
    with acting_as(found.owner):
        pair = read_pair(Tree(Path("/")), found.files, found.within or found.home)
    same = found.facts is not None and pair.facts is not None
    if record.stop is not None:
        with acting_as(record.acting(record.stop.path)):
            same = same and handover.is_renewing(record.stop)
    if not (same and pair.facts == found.facts):
        raise UsageError(
            f"{found.client} has changed {found.name} meanwhile; it was not taken over",
            hint="Run the same command again.",
            name=found.name,
            code="import.changed",
        )


def _hand_over(
    record: ImportRecord,
    held: Held,
    run: Run,
    older: Sequence[Material] = (),
    csr: bytes | None = None,
) -> Version:
    """Stop the other client, then start certctl, then switch what programs read. Every step may be
    repeated. Returns the live version. Raises `StoreError`.
    """
    handover.stop_client(record)
    identifiers = parse_identifiers(record.identifiers)
    spec = spec_of(record.certificate, identifiers, record.choices, run)
    if held.saved is None:
        if csr is not None:
            held.save_csr(csr)
        held.save_spec(spec)
    if held.live is None or held.live.facts.sha256 != record.taken_sha256:
        for each in older:
            held.add_version(version_of(spec, each, None, record.client), each)
        material = _material(record)
        held.add_version(
            version_of(spec, material, account_url_of(record, run), record.client), material
        )
    handover.link_paths(record, _live(record, run))
    assert held.live is not None  # noqa: S101 - for the type checker
    return held.live


def _material(record: ImportRecord) -> Material:
    """Return the certificate from the client's files. Raises `StoreError`."""
    with acting_as(record.owner):
        pair = read_pair(Tree(Path("/")), record.files, record.within or record.home)
    if pair.material is None or pair.why is not None:
        raise StoreError(f"{record.name} cannot be read: {pair.why}")
    return pair.material


def finish_interrupted(run: Run) -> list[str]:
    """Finish or undo the hand-overs that killed runs left unfinished; the names of those that
    certctl renews now. One that fails is a warning: the next run tries it again.
    """
    imports, finished = run.services.machine.imports, []
    for name in imports.unfinished():
        try:
            held = run.hold(name, timeout=0)
            record = imports.find(name)
            if record is None:
                continue
            if record.state is ImportState.GIVING_BACK:
                give_back_held(record, held, run)
            elif held.saved is None and not _was_begun(record):
                with client_lock(record, run):  # the other client had not been told yet
                    handover.remove_temporary_files(record)
                imports.drop(name)
            else:
                with client_lock(record, run):
                    handover.remove_temporary_files(record)
                    _hand_over(record, held, run)
                    mark_undeployed(held)
                imports.save(replace(record, state=ImportState.DONE))
                finished.append(name)
        except Interrupted:
            raise
        except CertctlError as error:
            run.warn(f"the import of {name} could not be finished: {error.message}", name)
        finally:
            run.release(name)
    return finished


def _was_begun(record: ImportRecord) -> bool:
    stopped = record.stop is None or handover.is_stopped(record.stop)
    return stopped and record.state is not ImportState.PREPARING


def _put_back(record: ImportRecord, held: Held, run: Run) -> None:
    """Put everything back at once, after a step failed or a server refused the files."""
    handover.restore_paths(record)
    held.delete()
    handover.start_client(record)
    run.services.machine.imports.save(replace(record, state=ImportState.PREPARING))


def _live(record: ImportRecord, run: Run) -> Path:
    return Path(run.services.tree.home) / "live" / record.certificate


def _client_steps(record: ImportRecord) -> list[tuple[str, str]]:
    steps = []
    if record.stop is not None:
        aside = record.stop.aside
        what = (
            f"{record.stop.path} → {Path(aside).name}" if aside else f"a line of {record.stop.path}"
        )
        steps.append((record.client, f"{what}; {record.client} no longer renews it"))
    if record.paths:
        directory = Path(record.paths[0].path).parent
        steps.append(("paths", f"{len(record.paths)} links in {directory} lead to certctl's files"))
    return steps


def _targets(
    spec: CertificateSpec, machine: FoundMachine, paths: Sequence[TakenPath], run: Run
) -> tuple[Target, ...]:
    """Return the programs that are tested and reloaded: those of the specification, and those whose
    configuration names the paths. One that does not work already is left out, with a warning.
    """
    names = {each.path for each in paths}
    reading = [each.program for each in machine.readers if each.path in names]
    usable: list[Target] = []
    for name in dict.fromkeys([*spec.deploy.targets, *reading]):
        if name not in target_names():
            continue
        one = replace(spec, deploy=replace(spec.deploy, targets=(name,)))
        try:
            (target,) = targets_of(one, run, {})
            target.plugin.test()
        except Interrupted:
            raise
        except CertctlError as error:
            run.warn(
                f"{name} was neither tested nor reloaded, because that does not work already:"
                f" {error.message}",
                spec.name,
            )
            continue
        usable.append(target)
    return tuple(usable)


def _verified(held: Held, version: Version, targets: tuple[Target, ...], run: Run) -> Rollout:
    """Test and reload the programs that read the files, and check what they serve. No hook runs."""
    rollout = new_rollout(held, version, held.deployment, targets, run)
    for target in targets:
        target.plugin.test()
        target.plugin.reload([rollout.delivery])
    (rollout,) = check_live([rollout], run)
    if rollout.error is None:
        now = run.services.clock.now()
        verified_at = now if rollout.probes else None
        held.save_deployment(
            Deployment(version.number, version.number, now, verified_at=verified_at)
        )
    return rollout


def _served(rollout: Rollout) -> list[tuple[str, str]]:
    places = list(dict.fromkeys(format_service(each.service) for each in rollout.probes))
    served = f"; serves the same certificate at {', '.join(places)}" if places else ""
    return [(each.name, f"tested, reloaded{served}") for each in rollout.targets]


def _take_hooks(found: FoundCertificate, machine: FoundMachine, run: Run) -> list[str]:
    """Link the executables in a client's hook directories into certctl's."""
    links: dict[Path, str] = {}
    home = Path(run.services.tree.home)
    for client in machine.clients:
        if client.client == found.client and client.home == found.home:
            links = handover.hook_links(
                home, [(each.event, each.path) for each in client.hooks if each.runs]
            )
    for link, target in list(links.items()):
        try:
            check_trusted(Path(target))
        except CertctlError as error:
            run.warn(f"{error.message}. This hook was not taken over.", found.name)
            del links[link]
    handover.take_hooks(links)
    return [f"{link.relative_to(home)} → {target}" for link, target in links.items()]


def repair(name: str, run: Run) -> list[str]:
    """Make the paths of an imported certificate links to certctl's files again; those that were
    not. Raises `UsageError` if it was deleted since, and `StoreError`.
    """
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    record = run.services.machine.imports.find(name)
    if record is None:
        return []
    if held.saved is None:
        raise UsageError(
            f"{name} was imported, and has been deleted since",
            hint=f"Give {record.client} back what it had: certctl import --undo {name}",
            name=name,
            code="import.deleted",
        )
    broken = handover.not_linked(record, _live(record, run))
    if broken:
        with journalled_lock(record, ImportState.HANDING_OVER, run):
            handover.link_paths(record, _live(record, run))
        run.services.machine.imports.save(record)
    return broken
