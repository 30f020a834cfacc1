"""Certificates as text and as JSON: rows for `list`, labelled lines for `show`, outcomes of a run.

Only formats what operations return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime

from certctl.ca.directories import DEV, label
from certctl.engine.report import Report
from certctl.engine.rows import CertificateView, LiveVersion
from certctl.inspection.overview import CertificateDetails
from certctl.model.certificate import CertificateFacts, LastError, Version
from certctl.model.delivery import CertificateFiles, DeployResult, ProbeResult
from certctl.model.errors import CertctlError
from certctl.model.identifiers import IdentifierType
from certctl.model.run import Outcome, WindowWait
from certctl.model.spec import CertificateSpec, ChallengeSpec, OnFailure
from certctl.model.text import escaped
from certctl.output.console import Paragraph
from certctl.output.document import Json, Result, error_object
from certctl.output.listing import names_text, waits_text
from certctl.output.times import Times, left, moment
from certctl.rules.copies import copy_table, format_copy
from certctl.rules.credentials import AUTO
from certctl.rules.service_address import format_service
from certctl.rules.shown_names import shown_names


def view_object(view: CertificateView) -> dict[str, Json]:
    """Return a row as JSON."""
    live = view.live
    return {
        "name": view.name,
        "state": view.state,
        "names": list(view.names),
        "live_names": list(live.names) if live else None,
        "ca": view.ca,
        "cas": [label(each) for each in view.cas],
        "fallback": view.fallback,
        "public": view.public,
        "version": live.number if live else None,
        "not_before": moment(live.not_before) if live else None,
        "not_after": moment(live.not_after) if live else None,
        "seconds_left": int(view.seconds_left) if view.seconds_left is not None else None,
        "serial": live.serial if live else None,
        "sha256": live.sha256 if live else None,
        "issuer": live.issuer if live else None,
        "key_type": live.key_type if live else None,
        "second": _second_object(live.second) if live else None,
        "renews_at": moment(view.renews_at),
        "why": view.why,
        "autorenew": view.autorenew,
        "deployed": view.deployed,
        "deployed_version": view.deployed_version,
        "verified_at": moment(view.verified_at),
        "challenge": view.challenge or None,
        "next_attempt": moment(view.retry_at),
        "waits": waits_object(view.waits),
        "last_error": _last_error(view.last_error),
        "damage": view.damage,
        "problem": error_object(view.problem) if view.problem else None,
    }


def waits_object(waits: WindowWait | None) -> dict[str, Json] | None:
    """Return what waits for a window as JSON."""
    if waits is None:
        return None
    return {
        "for": waits.kind.value,
        "until": moment(waits.until),
        "windows": list(waits.windows),
        "version": waits.version,
    }


def details_object(details: CertificateDetails) -> dict[str, Json]:
    """Return everything about one certificate as JSON."""
    spec = details.spec
    return {
        **view_object(details.view),
        "ca_url": details.view.ca_url,
        "challenge": spec.challenge.method,
        "dns_provider": spec.challenge.dns_provider,
        "dns_credentials": spec.challenge.dns_credentials,
        "files": _files(details.files),
        "hooks": {
            "pre": spec.deploy.pre_hook,
            "deploy": spec.deploy.deploy_hook,
            "reload": spec.deploy.reload,
            "post": spec.deploy.post_hook,
        },
        "targets": list(spec.deploy.targets),
        "copies": [copy_table(each) for each in spec.deploy.copies],
        "verify": [format_service(each) for each in spec.deploy.verify],
        "probe": spec.deploy.probe,
        "on_failure": spec.deploy.on_failure.value,
        "key_group": spec.key_group,
        "key_mode": None if spec.key_mode is None else f"{spec.key_mode:04o}",
        "order_window": list(spec.order_window),
        "deploy_window": list(spec.deploy_window),
        "managed_by": spec.managed_by,
        "groups": list(spec.groups),
        "origin": spec.origin,
        "versions": [version_object(each) for each in details.versions],
    }


def details_lines(details: CertificateDetails, times: Times, title: str) -> list[object]:
    """Return the lines of `show`, the first of which is the title."""
    view, spec, live = details.view, details.spec, details.status.live
    rows: list[tuple[str, str]] = [
        ("names", names_text(view)),
        *_unicode_row(view),
        ("state", view.state),
        *([("damage", view.damage)] if view.damage else []),
        ("renewal", renewal_text(view.renews_at, view.why, due=view.due, times=times)),
        *([("waiting", waits_text(view.waits, times))] if view.waits else []),
        *([("order window", ", ".join(spec.order_window))] if spec.order_window else []),
        *([("deploy window", ", ".join(spec.deploy_window))] if spec.deploy_window else []),
        ("CA", view.ca if view.public else f"{view.ca} (not trusted by browsers)"),
        *_other_cas_row(view),
        *([("managed by", spec.managed_by)] if spec.managed_by else []),
        *([("groups", ", ".join(spec.groups))] if spec.groups else []),
        *([("imported from", spec.origin)] if spec.origin else []),
    ]
    if live is not None:
        rows += [
            ("version", f"{live.number}, issued {times.day(live.issued)} by {live.facts.issuer}"),
            *_kept_row(details.versions, live),
            ("valid until", f"{times.minute(live.not_after)} ({left(view.seconds_left)})"),
            ("key", _of_each(live, lambda each: each.key_type)),
            ("serial", _of_each(live, lambda each: each.serial)),
            ("sha256", _of_each(live, lambda each: each.sha256)),
        ]
    if spec.profile or spec.required_profile:
        rows.append(("profile", str(spec.required_profile or spec.profile)))
    if spec.common_name:
        rows.append(("common name", spec.common_name))
    rows.append(("validation", _challenge_text(details)))
    rows.append(("deployed", _deployed_text(view, times)))
    rows += _deployment_rows(spec)
    hooks = {
        "pre hook": spec.deploy.pre_hook,
        "deploy hook": spec.deploy.deploy_hook,
        "reload": spec.deploy.reload,
        "post hook": spec.deploy.post_hook,
    }
    rows += [(label, escaped(command)) for label, command in hooks.items() if command]
    if view.last_error is not None:
        rows.append(
            ("last error", f"{times.minute(view.last_error.at)}: {view.last_error.message}")
        )
    lines: list[object] = [title, *pairs(rows)]
    if details.files is not None:
        lines += ["", *files_lines(details.files)]
    return lines


def _of_each(version: Version, value: Callable[[CertificateFacts], str]) -> str:
    """Return a value of each certificate of a version, one per line."""
    return "\n".join(value(each.facts) for each in version.certificates)


def _other_cas_row(view: CertificateView) -> list[tuple[str, str]]:
    if len(view.cas) < 2:
        return []
    order = ", then ".join(label(each) for each in view.cas)
    note = " (the live version is not of the first)" if view.fallback else ""
    return [("asked", f"{order}{note}")]


def _unicode_row(view: CertificateView) -> list[tuple[str, str]]:
    """Return the row with the names that are shown in Unicode."""
    shown = shown_names(view.names)
    others = [each for each, name in zip(shown, view.names, strict=True) if each != name]
    return [("in Unicode", ", ".join(others))] if others else []


def _kept_row(versions: Sequence[Version], live: Version) -> list[tuple[str, str]]:
    """Return the row with the numbers of the versions that are kept besides the live one."""
    others = [str(each.number) for each in versions if each.number != live.number]
    label = "version" if len(others) == 1 else "versions"
    return [("also kept", f"{label} {', '.join(others)}")] if others else []


def renewal_text(at: datetime | None, why: str, *, due: bool, times: Times) -> str:
    """Return when a certificate is renewed, and why."""
    if due:
        return f"due: {why}"
    return why if at is None else f"not due until {times.minute(at)}, when {why}"


def files_lines(files: CertificateFiles) -> list[str]:
    """Return the paths of the live files, one per line."""
    return pairs(
        [
            row
            for each in files.parts
            for row in (
                ("certificate and chain", each.fullchain),
                *([("private key", each.privkey)] if each.privkey else []),
                *([("combined, for HAProxy", each.combined)] if each.combined else []),
            )
        ]
    )


def report_result(report: Report, lines: Sequence[object], *, one_line: bool = False) -> Result:
    """Return the result of a run: its outcomes as JSON, and `lines` as text. With `one_line`, each
    error is printed on one line.
    """
    data: dict[str, Json] = {
        "dry_run": report.dry_run,
        "considered": report.considered,
        "certificates": [outcome_object(each) for each in report.outcomes],
    }
    return Result(
        data,
        lines,
        report.all_errors,
        report.exit_status,
        printed_before=report.printed_before,
        one_line=one_line,
    )


def outcome_object(outcome: Outcome) -> dict[str, Json]:
    """Return the outcome for one certificate as JSON."""
    error, incomplete = outcome.error, outcome.incomplete
    return {
        "name": outcome.name,
        "action": outcome.action,
        "names": list(outcome.names),
        "reason": outcome.reason,
        "renews_at": moment(outcome.renews_at),
        "waits": waits_object(outcome.waits),
        "version": version_object(outcome.version) if outcome.version else None,
        "deploy": _deploy_object(outcome.deploy),
        "revoked": [
            {"version": each.version, "serial": each.serial, "already_revoked": each.already}
            for each in outcome.revoked
        ],
        "incomplete": error_object(incomplete) if isinstance(incomplete, CertctlError) else None,
        "error": error_object(error) if isinstance(error, CertctlError) else None,
    }


def version_object(version: Version) -> dict[str, Json]:
    """Return a version as JSON."""
    return {
        "number": version.number,
        "serial": version.facts.serial,
        "sha256": version.facts.sha256,
        "not_before": moment(version.facts.not_before),
        "not_after": moment(version.not_after),
        "issuer": version.facts.issuer,
        "key_type": version.facts.key_type,
        "second": _second_object(version.second.facts) if version.second else None,
        "issued": moment(version.issued),
    }


def _second_object(second: LiveVersion | CertificateFacts | None) -> dict[str, Json] | None:
    """Return the certificate with the other key type as JSON."""
    if second is None:
        return None
    return {
        "key_type": second.key_type,
        "serial": second.serial,
        "sha256": second.sha256,
        "not_before": moment(second.not_before),
        "not_after": moment(second.not_after),
        "issuer": second.issuer,
    }


def pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return labelled values, one per line, with the values aligned."""
    width = max(len(label) for label, _ in pairs)
    indent = f"\n{' ' * (width + 4)}"
    return [
        Paragraph(f"  {label.ljust(width)}  {value.replace(chr(10), indent)}")
        for label, value in pairs
    ]


def _challenge_text(details: CertificateDetails) -> str:
    challenge = details.spec.challenge
    match challenge.method:
        case "standalone":
            return _standalone_text(details.spec)
        case "tls-alpn":
            return f"TLS-ALPN-01, built-in server on port {challenge.tls_alpn_port}"
        case "http-hook":
            return f"HTTP-01, hook {escaped(challenge.http_hook or '')}"
        case "dns-persist":
            return "DNS-PERSIST-01, persistent record"
        case "stateless":
            return "HTTP-01, static rule of the web server"
        case "webroot":
            places = challenge.webroots or (challenge.directory or "",)
            return f"HTTP-01, webroot {', '.join(places)}"
        case "dns":
            return f"{challenge.dns_challenge.upper()}, {_dns_text(challenge)}"
    return challenge.method


def _standalone_text(spec: CertificateSpec) -> str:
    """Return how the default method validates; at the development CA, `Run.challenge` chooses
    DNS-01 for a wildcard, which HTTP-01 cannot validate.
    """
    if spec.ca == DEV and any(each.wildcard for each in spec.identifiers):
        http = any(each.type is IdentifierType.IP for each in spec.identifiers)
        rest = "; HTTP-01 for addresses" if http else ""
        return f"DNS-01, in the built-in zone of the development CA{rest}"
    return f"HTTP-01, built-in server on port {spec.challenge.http_port}"


def _dns_text(challenge: ChallengeSpec) -> str:
    if challenge.dns_credentials is not None:
        return f"credentials {challenge.dns_credentials}"
    if challenge.dns_provider in (None, AUTO):
        return "credentials of each zone"
    return f"provider {challenge.dns_provider}"


def _deployment_rows(spec: CertificateSpec) -> list[tuple[str, str]]:
    """Return the deployment settings of a certificate, and who may read its keys."""
    deploy, keys = spec.deploy, [spec.key_group or ""]
    if spec.key_mode is not None:
        keys.append(f"mode {spec.key_mode:04o}")
    services = ", ".join(format_service(each) for each in deploy.verify)
    rows = [
        ("key readable by", ", ".join(each for each in keys if each)),
        ("deploy targets", ", ".join(deploy.targets)),
        ("copies", "\n".join(format_copy(each) for each in deploy.copies)),
        ("live check", services if deploy.probe else "off"),
        ("on failure", "rollback" if deploy.on_failure is OnFailure.ROLLBACK else ""),
    ]
    return [(label, text) for label, text in rows if text]


def _deployed_text(view: CertificateView, times: Times) -> str:
    if view.live is None:
        return "no: nothing was issued yet"
    if view.deployed and view.verified_at is not None:
        return f"yes; live check passed at {times.minute(view.verified_at)}"
    if view.deployed and not view.has_target:
        return "- (no server is told of it: set --deploy, --reload, --deploy-hook or --copy)"
    if view.deployed:
        return "yes"
    if view.deployed_version is None:
        return f"no: deployment of version {view.live.number} is pending"
    return (
        f"no: deployment of version {view.live.number} is pending;"
        f" version {view.deployed_version} is deployed"
    )


def _deploy_object(result: DeployResult | None) -> dict[str, Json] | None:
    if result is None:
        return None
    error = result.error
    return {
        "version": result.version,
        "deployed": result.deployed,
        "verified": _verified(result),
        "rolled_back_to": result.rolled_back_to,
        "probes": [_probe_object(each) for each in result.probes],
        "error": error_object(error) if isinstance(error, CertctlError) else None,
    }


def _verified(result: DeployResult) -> bool | None:
    """Return whether every live check passed; None if there was none."""
    return all(each.error is None for each in result.probes) if result.probes else None


def _probe_object(result: ProbeResult) -> dict[str, Json]:
    return {
        "service": format_service(result.service),
        "address": result.address,
        "server_name": result.server_name,
        "key": result.key,
        "good": result.error is None,
        "problem": result.error,
        "sha256": result.sha256,
        "not_after": moment(result.not_after),
    }


def _last_error(error: LastError | None) -> dict[str, Json] | None:
    if error is None:
        return None
    return {
        "code": error.code,
        "message": error.message,
        "at": moment(error.at),
        "failure": error.failure,
    }


def _files(files: CertificateFiles | None) -> dict[str, Json] | None:
    return None if files is None else dict(asdict(files))
