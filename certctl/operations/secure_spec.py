"""What `certctl secure` means to the specification of a certificate: the web server becomes its
deploy target and answers its challenges, until that is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from certctl.engine.run import Run
from certctl.engine.specs import changed, load
from certctl.model.errors import CertctlError, UsageError
from certctl.model.identifiers import IdentifierType
from certctl.model.spec import CertificateSpec
from certctl.model.values import Value
from certctl.model.webserver import SecuredSite
from certctl.rules.answer_paths import left_to_servers
from certctl.rules.spec import target_of
from certctl.store.home.secured import SecuredSites


def challenge_options(name: str, run: Run) -> dict[str, Value] | None:
    """Return the options by which a certificate is validated; None if there is none."""
    if name not in run.services.records.names():
        return None
    with suppress(CertctlError):  # its spec cannot be read, as every other command says
        spec = load(run, name)
        chosen = {key: spec.chosen[key] for key in spec.chosen if key.startswith("challenge.")}
        return {"challenge.method": spec.challenge.method, **chosen}
    return None


def renewed_without(record: SecuredSite, sites: SecuredSites, run: Run) -> bool | None:
    """Return whether a certificate is renewed without our lines; None if there is none."""
    if record.name not in run.services.records.names():
        return None
    with suppress(CertctlError):
        here = _answered_here(load(run, record.name), sites)
        return not here or _had_another_way(record, sites)
    return False


def take_back(
    record: SecuredSite, sites: SecuredSites, run: Run, *, keeps_target: bool = False
) -> None:
    """Have a certificate validated as before, and no longer deployed to the server unless it
    `keeps_target`.
    """
    if record.name not in run.services.records.names():
        return
    held = run.hold(record.name, timeout=run.services.settings.seconds("lock_timeout"))
    try:
        spec = held.spec
        given: dict[str, Value] = {}
        if _answered_here(spec, sites) and _had_another_way(record, sites):
            given.update(record.challenge or {})
        targets = tuple(each for each in spec.deploy.targets if each != record.server)
        if not keeps_target and targets != spec.deploy.targets:
            given["deploy.targets"] = targets
        if given:
            held.save_spec(changed(run, spec, spec.identifiers, given))
        if "deploy.targets" in given:
            held.save_deployment(replace(held.deployment, verified_at=None))
    finally:
        run.release(record.name)


def forget_target_options(name: str, server: str, kept: Collection[str], run: Run) -> None:
    """Remove the options of the server's deploy target that are not `kept`: they are about a server
    that ran before, with another program or configuration.
    """
    held = run.hold(name, timeout=run.services.settings.seconds("lock_timeout"))
    try:
        spec = held.spec
        stale = {key for key in spec.chosen if target_of(key) == server and key not in kept}
        if stale:
            chosen = {key: value for key, value in spec.chosen.items() if key not in stale}
            held.save_spec(changed(run, replace(spec, chosen=chosen), spec.identifiers, {}))
    finally:
        run.release(name)


def refuse_more_names(spec: CertificateSpec, before: Sequence[str], run: Run) -> None:
    """Raise `UsageError` if a certificate whose challenges our lines answer is to get names for
    which there are no lines: these would neither be validated nor served.
    """
    sites = SecuredSites(Path(run.services.tree.home))
    record = sites.get(spec.name)
    if record is None or not record.tls or not _answered_here(spec, sites):
        return
    known = {*before, *record.names}
    more = [each for each in spec.identifiers if each.value not in known]
    if not more:
        return
    hosts = [each.value for each in more if each.type is IdentifierType.DNS and not each.wildcard]
    shown = ", ".join(each.value for each in more)
    raise UsageError(
        f"{record.server} does not answer the challenges of {shown}, and would not serve"
        f" {'it' if len(more) == 1 else 'them'}: `certctl secure` has written the lines for"
        f" {', '.join(record.names)} only",
        hint=f"Add the name and its lines: certctl secure {' '.join((*record.names, *hosts))}"
        f" --name {spec.name}"
        if len(hosts) == len(more)
        else "A web server answers for host names only. Give the others a certificate of their"
        " own: certctl issue --help",
        name=spec.name,
        code="usage.secured",
    )


def warn_of_fewer_names(spec: CertificateSpec, before: Sequence[str], run: Run) -> None:
    """Warn if the web server still serves names with a certificate that has lost them."""
    record = SecuredSites(Path(run.services.tree.home)).get(spec.name)
    if record is None or not record.tls:
        return
    now = {each.value for each in spec.identifiers}
    lost = [each for each in before if each in record.names and each not in now]
    if lost:
        run.warn(
            f"{record.server} still serves {', '.join(lost)} with this certificate; remove the"
            f" lines for {'it' if len(lost) == 1 else 'them'}: certctl secure"
            f" {' '.join(each for each in record.names if each in now)} --name {spec.name}"
        )


def _answered_here(spec: CertificateSpec, sites: SecuredSites) -> bool:
    """Whether a certificate is validated by answers in certctl's own directory."""
    ours = (str(sites.layout.challenges),)
    return left_to_servers(spec.challenge.method) and tuple(spec.challenge.webroots) == ours


def _had_another_way(record: SecuredSite, sites: SecuredSites) -> bool:
    before = record.challenge
    return before is not None and before.get("challenge.webroots") != (
        str(sites.layout.challenges),
    )
