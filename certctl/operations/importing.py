"""Takes certificates over from other ACME clients, and gives them back.

Nothing is ordered. The version, the account and the specification are saved first; then, by steps
that are recorded before the first one, the other client stops renewing the certificate, certctl's
specification is saved, and the paths that programs read become links to certctl's files. After a
kill, one of the two clients renews the certificate, or the next run of `renew` finishes the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from certctl.ca.directories import KNOWN_CAS, ca_kind
from certctl.deploy.loading import target_names
from certctl.engine.delivery.live_check import check_live
from certctl.engine.delivery.live_version import mark_undeployed
from certctl.engine.delivery.steps import Rollout, Target, new_rollout, targets_of
from certctl.engine.held import Held
from certctl.engine.remember import remember
from certctl.engine.run import Run
from certctl.importers import handover
from certctl.importers.loading import look
from certctl.importers.system import group_name, read_pair
from certctl.importers.tree import Tree, Unreadable
from certctl.model.ca import Account
from certctl.model.certificate import IssuedCertificate, Material, Version
from certctl.model.delivery import Deployment
from certctl.model.errors import (
    CertctlError,
    Interrupted,
    StoreError,
    UsageError,
)
from certctl.model.identifiers import Identifier
from certctl.model.importing import (
    FoundCertificate,
    FoundClient,
    FoundMachine,
    ImportRecord,
    ImportState,
    Question,
    Readiness,
    TakenPath,
)
from certctl.model.lazy_dataclass import dataclass
from certctl.model.names import certificate_name, default_certificate_name, parse_identifiers
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.operations.adopted_accounts import account_key, account_of, account_text
from certctl.operations.import_finish import turn_on_again
from certctl.rules import x509
from certctl.rules.keys import key_sha256
from certctl.rules.renewal import request_of
from certctl.rules.service_address import format_service
from certctl.rules.spec import merge_choices, resolve
from certctl.system.trust import check_trusted

_WAYS = frozenset({"--webroot", "--standalone", "--dns", "--tls-alpn", "--dns-credentials"})
_DEPLOYMENT = frozenset({"--deploy", "--deploy-hook", "--copy"})
_ACCOUNT = frozenset({"--agree-tos", "--account"})


@dataclass(frozen=True)
class Taken:
    """A certificate that was taken over or given back, or the reason why not."""

    found: FoundCertificate | None
    certificate: str
    steps: tuple[tuple[str, str], ...] = ()
    error: CertctlError | None = None


def find_machine(root: Path, place: str | None) -> FoundMachine:
    """Return what other clients have below `root`, or only in the directory `place`. Changes
    nothing and asks no CA.
    """
    known = {each.url.split("/")[2]: each.url for each in KNOWN_CAS if "://" in each.url}
    machine = look(Tree(root), known, place)
    return replace(machine, clients=tuple(_asked(each, machine) for each in machine.clients))


def _asked(client: FoundClient, machine: FoundMachine) -> FoundClient:
    """Return the client with the questions that schedules and containers raise."""
    certificates = []
    for each in client.certificates:
        questions, notes, why = list(each.questions), list(each.notes), each.why
        for schedule in machine.schedules:
            orders = any(f" {word} " in f" {schedule.command} " for word in ("certonly", "run"))
            named = each.facts is not None and any(
                one.value in schedule.command for one in each.facts.identifiers
            )
            if schedule.client == client.client == "certbot" and orders and named:
                questions.append(
                    Question(
                        f"{schedule.where} runs certbot to get it again, which would make a second"
                        " one",
                        "remove that line",
                    )
                )
        if machine.mounts and not client.report_only:
            questions.append(
                Question(
                    f"a container sees these files, and would not find certctl's: "
                    f"{machine.mounts[0]}",
                    "--copy fullchain:PATH --copy privkey:PATH with the paths that it reads",
                )
            )
        if each.ca is not None and ca_kind(each.ca) == "staging":
            notes.append("its CA is for tests: --all leaves it out")
        if client.untrusted is not None and why is None:
            why = (
                f"{client.untrusted}, who could change what certctl would run as root; make root"
                " its owner first"
            )
        readiness = Readiness.TO_SETTLE if questions else Readiness.READY
        certificates.append(
            replace(
                each,
                questions=tuple(questions),
                notes=tuple(notes),
                why=why,
                readiness=Readiness.NOT_MOVED if why is not None else readiness,
            )
        )
    return replace(client, certificates=tuple(certificates))


def choose(
    machine: FoundMachine, names: Sequence[str], given: Mapping[str, Value], *, agreed: bool
) -> list[FoundCertificate]:
    """Return the certificates to take over: those that are named, or all that are ready.

    `given` has the options that settle questions. Raises `UsageError` for a name that two clients
    have or nobody has, and for a question that is not settled.
    """
    everything = [each for client in machine.clients for each in client.certificates]
    if not names:
        return [
            each
            for each in everything
            if each.readiness is Readiness.READY and not _is_staging(each)
        ]
    return [_ready(_named(everything, name), given, agreed=agreed) for name in dict.fromkeys(names)]


def _is_staging(found: FoundCertificate) -> bool:
    return found.ca is not None and ca_kind(found.ca) == "staging"


def _named(found: Sequence[FoundCertificate], name: str) -> FoundCertificate:
    matching = [each for each in found if name in (each.name, each.id)]
    if not matching:
        known = ", ".join(each.name for each in found[:10]) or "none"
        raise UsageError(
            f"no other client has a certificate named {name}; known: {known}",
            hint="See all of them with: certctl import",
            code="usage.unknown_certificate",
        )
    if len(matching) > 1:
        raise UsageError(
            f"several clients have a certificate named {name}",
            hint=f"Name one of them: {', '.join(each.id for each in matching)}",
            code="usage.name",
        )
    return matching[0]


def _ready(
    found: FoundCertificate, given: Mapping[str, Value], *, agreed: bool
) -> FoundCertificate:
    """Return the certificate if it can be taken over. Raises `UsageError`."""
    if found.why is not None and not found.by_name:
        raise UsageError(
            f"{found.name} is not moved: {found.why}", name=found.name, code="import.not_moved"
        )
    left = [each for each in found.questions if not _settles(each, given, agreed=agreed)]
    if left:
        raise UsageError(
            f"{found.name}: {'; '.join(each.message for each in left)}",
            hint=f"Settle that first: {'; '.join(each.option for each in left)}",
            name=found.name,
            code="import.to_settle",
        )
    return found


def _settles(question: Question, given: Mapping[str, Value], *, agreed: bool) -> bool:
    flags = {word.strip(",") for word in question.option.split() if word.startswith("--")}
    if flags & _ACCOUNT:
        return agreed or "account.id" in given
    if "--key-group" in flags:
        return "key_group" in given
    if "--ca" in flags:
        return "ca" in given
    if flags & _WAYS:
        return any(key.startswith(("challenge.", "dns.")) for key in given)
    if flags & _DEPLOYMENT:
        return any(key.startswith("deploy.") for key in given)
    return False


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
    imports, now = run.services.machine.imports, run.services.clock.now()
    if found.material is None or found.facts is None:
        raise UsageError(f"{found.name} has no certificate", code="import.not_moved")
    name = _free_name(found, run)
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    if held.saved is not None or imports.find(name) is not None:
        raise UsageError(
            f"certctl has a certificate named {name} already; it is left alone",
            hint=f"See it with: certctl show {name}",
            name=name,
            code="import.exists",
        )
    account = account_of(found, machine, given, run)
    choices = _choices(found, account, given, run)
    spec = _spec(name, found.facts.identifiers, choices, run)
    held.check_access(spec)
    record = ImportRecord(
        client=found.client,
        name=found.name,
        home=found.home,
        certificate=name,
        state=ImportState.HANDING_OVER,
        identifiers=tuple(each.value for each in found.facts.identifiers),
        choices=spec.chosen,
        files=found.files,
        taken_sha256=found.facts.sha256,
        taken_at=now,
        stop=found.stop,
        lock=found.lock,
        lineage=_lineage(found),
        archive=found.archive,
        account_key_file=found.account_key_file,
    )
    with _client_lock(record, run):
        _require_unchanged(found)
        copied = frozenset(each.to for each in spec.deploy.copies)
        record = replace(record, paths=handover.taken_paths(found, copied))
        targets = _targets(spec, machine, record.paths, run)
        older = _history(found, machine) if history else ()
        imports.save(record)
        try:
            version = _hand_over(record, held, run, older, found.csr)
            rollout = _verified(held, version, targets, run)
            if rollout.error is not None:
                raise rollout.error
            hooks = _take_hooks(found, machine, run)
        except CertctlError:
            _put_back(record, held, run)
            raise
        imports.save(replace(record, state=ImportState.DONE))
    steps = [
        ("account", account_text(account)),
        ("version", f"{version.number} = {found.files.fullchain}; nothing was ordered"),
        ("spec", f"certificates/{name}.toml"),
        *(("hooks", each) for each in hooks),
        *_client_steps(record),
        *_served(rollout),
    ]
    remember(held, run)
    return Taken(found, name, tuple(steps))


def _require_unchanged(found: FoundCertificate) -> None:
    """Raise `UsageError` if the client has changed the certificate since it was read; its lock is
    held now.
    """
    pair = read_pair(Tree(Path("/")), found.files, found.home)
    same = found.facts is not None and pair.facts is not None
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
    if record.stop is not None:
        handover.stop_client(record.stop)
    identifiers = parse_identifiers(record.identifiers)
    spec = _spec(record.certificate, identifiers, record.choices, run)
    if held.saved is None:
        if csr is not None:
            held.save_csr(csr)
        held.save_spec(spec)
    if held.live is None or held.live.facts.sha256 != record.taken_sha256:
        for each in older:
            held.add_version(_version(spec, each, None, record.client), each)
        material = _material(record)
        held.add_version(
            _version(spec, material, _account_url(record, run), record.client), material
        )
    handover.link_paths(record, _live(record, run))
    assert held.live is not None  # noqa: S101 - for the type checker
    return held.live


def _material(record: ImportRecord) -> Material:
    """Return the certificate from the client's files. Raises `StoreError`."""
    pair = read_pair(Tree(Path("/")), record.files, record.home)
    if pair.material is None or pair.why is not None:
        raise StoreError(f"{record.name} cannot be read: {pair.why}")
    return pair.material


def _account_url(record: ImportRecord, run: Run) -> str | None:
    chosen = record.choices.get("account.id")
    return next((each.url for each in run.services.records.accounts() if each.id == chosen), None)


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
                _give_back(record, held, run)
            elif held.saved is None and not _was_stopped(record):
                imports.drop(name)  # the other client had not been told yet
            else:
                with _client_lock(record, run):
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


def _client_lock(record: ImportRecord, run: Run) -> AbstractContextManager[None]:
    seconds = run.services.settings.seconds("lock_timeout")
    return handover.client_lock(record, run.services.clock, run.stop, seconds)


def _was_stopped(record: ImportRecord) -> bool:
    return record.stop is None or handover.is_stopped(record.stop)


def _put_back(record: ImportRecord, held: Held, run: Run) -> None:
    """Put everything back at once, after a step failed or a server refused the files."""
    handover.restore_paths(record)
    held.delete()
    if record.stop is not None:
        handover.start_client(record.stop)
    run.services.machine.imports.drop(record.certificate)


def give_back(name: str, run: Run) -> Taken:
    """Give a certificate back to the client that it came from, in its newest version. The client
    renews it from then on. Raises `UsageError` if it did not come from another client.
    """
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    imports = run.services.machine.imports
    record = imports.find(name)
    if record is None:
        known = ", ".join(each.certificate for each in imports.all()) or "none"
        raise UsageError(
            f"{name} was not imported; imported: {known}",
            hint="See what was imported with: certctl import --status",
            name=name,
            code="usage.unknown_certificate",
        )
    with _client_lock(record, run):
        steps = _give_back_steps(record, held, run)
    return Taken(None, name, tuple(steps))


def _give_back(record: ImportRecord, held: Held, run: Run) -> None:
    with _client_lock(record, run):
        handover.remove_temporary_files(record)
        _give_back_steps(record, held, run)


def _give_back_steps(record: ImportRecord, held: Held, run: Run) -> list[tuple[str, str]]:
    imports, steps = run.services.machine.imports, list[tuple[str, str]]()
    live = held.live
    if live is not None:
        changed = live.facts.sha256 != record.taken_sha256
        if record.state is not ImportState.GIVING_BACK:
            now = int(run.services.clock.now().timestamp())
            number = handover.next_version(record, now) if changed else None
            record = replace(record, state=ImportState.GIVING_BACK, given_back=number)
            imports.save(record)
        if changed:
            handover.give_back(record, held.material(live.number))
            steps.append(
                ("version", f"{live.number} is {record.client}'s newest now ({record.given_back})")
            )
        else:
            handover.restore_paths(record)
            steps.append(("version", "certctl had not renewed it: as it was"))
        steps.append(("paths", f"{len(record.paths)} lead to {record.client}'s files again"))
    steps += _give_account_back(record, run)
    held.delete()
    if record.stop is not None:
        handover.start_client(record.stop)
        steps.append((record.client, f"{record.stop.path} is back: {record.client} renews it"))
    steps += [
        (record.client, f"{each} runs it again") for each in turn_on_again(record.client, run)
    ]
    imports.drop(record.certificate)
    if not any(each.home == record.home for each in imports.all()):
        handover.leave_hooks(Path(run.services.tree.home), record.home)
    return steps


def _give_account_back(record: ImportRecord, run: Run) -> list[tuple[str, str]]:
    """Give the account's current key back if it was changed; warn where the client cannot be given
    it. Returns the step that was done.
    """
    path, records = record.account_key_file, run.services.records
    chosen = record.choices.get("account.id")
    account = next((each for each in records.accounts() if each.id == chosen), None)
    if account is None or path is None:
        return []
    key = records.account_keys(account).current
    try:
        old = account_key(Tree(Path("/")).read(path))
    except (CertctlError, Unreadable):
        return []
    if key_sha256(old) == key_sha256(key):
        return []
    directory = handover.give_account_back(record, key, account.url)
    if directory is not None:
        return [("account", f"its key was changed since; the current one is in {directory}")]
    where = run.services.machine.account_file(account.directory_url, account.id)
    run.warn(
        f"the key of the account {account.url} was changed since: {record.client} has the old one"
        f" in {path} and cannot renew until it has the new one, from {where}",
        record.certificate,
    )
    return []


def _free_name(found: FoundCertificate, run: Run) -> str:
    """Return the name for certctl: the client's, or one made from its first name."""
    try:
        return certificate_name(found.name)
    except UsageError:
        identifiers = found.facts.identifiers if found.facts is not None else ()
        return default_certificate_name(identifiers, run.services.records.names())


def _choices(
    found: FoundCertificate, account: Account, given: Mapping[str, Value], run: Run
) -> dict[str, Value]:
    """Return the certificate's choices: what the client did, and what the user gave."""
    own: dict[str, Value] = {
        **found.options,
        "ca": account.directory_url,
        "account.id": account.id,
        "deploy.lineage": _lineage(found),
    }
    if account.ca_bundle is not None:
        own["ca_bundle"] = account.ca_bundle
    group = None if found.key_group is None else group_name(found.key_group)
    if group is not None:
        own["key_group"] = group
    if found.csr is not None:
        own["csr"] = x509.read_csr(found.csr).sha256
        own.pop("key_type", None)
    if found.credentials is not None:
        own["challenge.dns_credentials"] = _credentials(found, run)
    chosen = {key: value for key, value in own.items() if value is not None}
    return merge_choices(chosen, {key: value for key, value in given.items() if key != "ca"})


def _lineage(found: FoundCertificate) -> str | None:
    return str(Path(found.files.fullchain).parent) if found.files.fullchain else None


def _credentials(found: FoundCertificate, run: Run) -> str:
    """Write the DNS credentials to a file of certctl, and return its name."""
    provider, values = found.credentials or ("", {})
    name = f"{found.client.replace('.', '')}-{default_name(found)}"
    run.services.machine.imports.save_credentials(name, provider, values)
    return name


def default_name(found: FoundCertificate) -> str:
    """Return a name for credentials: letters, digits and hyphens."""
    return "".join(each if each.isalnum() and each.isascii() else "-" for each in found.name)[:60]


def _spec(
    name: str, identifiers: Sequence[Identifier], choices: Mapping[str, Value], run: Run
) -> CertificateSpec:
    return resolve(name, identifiers, choices, run.services.settings)


def _version(
    spec: CertificateSpec, material: Material, account_url: str | None, origin: str
) -> Version:
    facts = x509.facts(material.cert)
    certificate = IssuedCertificate(
        facts=facts,
        request=replace(request_of(spec), identifiers=facts.identifiers),
        account_url=account_url,
        has_key=material.privkey is not None,
        origin=origin,
    )
    return Version(spec.name, 0, (certificate,), facts.not_before)


def _history(found: FoundCertificate, machine: FoundMachine) -> Sequence[Material]:
    from certctl.importers.clients import certbot  # noqa: PLC0415 - only certbot keeps versions
    from certctl.importers.system import ImportSystem  # noqa: PLC0415 - as above

    if found.client != certbot.NAME:
        return ()
    return certbot.history(ImportSystem(Tree(Path("/")), machine.schedules), found)


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
    not. Raises `StoreError`.
    """
    run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    record = run.services.machine.imports.find(name)
    if record is None:
        return []
    broken = handover.are_linked(record, _live(record, run))
    if broken:
        with _client_lock(record, run):
            handover.link_paths(record, _live(record, run))
    return broken
