"""Events as text, for the progress line, for `-v` and for the log file.

The text says what happened to which certificate. Callers add the time.
"""

from __future__ import annotations

from certctl.ca.directories import label
from certctl.model import events
from certctl.model.events import Event
from certctl.model.text import escaped

_WIDTH = 60


def describe(event: Event) -> str:
    """Return an event as one printable line."""
    text = _text(event)
    return escaped(f"{event.name}: {text}" if event.name else text)


def _text(event: Event) -> str:
    match event:
        case events.AccountRegistered():
            return f"account {'registered' if event.created else 'found'}: {event.url}"
        case events.OrderPlaced():
            return f"order {'resumed' if event.resumed else 'created'}: {event.url}"
        case events.ChallengesPresented():
            names = ", ".join(event.identifiers)
            return f"{event.type} responses published for {names}; checking that they are visible"
        case events.ChallengesSeen():
            return (
                f"responses visible after {event.seconds:.1f} s; waiting for validation by the CA"
            )
        case events.OrderReady():
            return "all names validated; waiting for the certificate"
        case events.CertificateSaved():
            until = f"{event.not_after:%Y-%m-%d %H:%M} UTC"
            return f"version {event.version} saved, valid until {until}"
        case _:
            return _deployment_text(event)


def _deployment_text(event: Event) -> str:
    match event:
        case events.HookStarted():
            return f"{event.event}: {_short(event.command)}"
        case events.HookFinished():
            ending = f"exit status {event.exit_status} after {event.seconds:.1f} s"
            return f"{event.event}: {_short(event.command)}: {ending}"
        case events.Deployed():
            return f"version {event.version} deployed"
        case events.Verified():
            return f"live check passed: {_service(event.service, event.server_name, event.address)}"
        case events.VerifyFailed():
            service = _service(event.service, event.server_name, event.address)
            return f"live check failed: {service}: {event.reason}"
        case events.Checking():
            return f"checking {event.what}"
        case events.Revoked():
            return f"serial {event.serial} {'was already revoked' if event.already else 'revoked'}"
        case _:
            return _run_text(event)


def _run_text(event: Event) -> str:
    match event:
        case events.RunStarted():
            return (
                f"{event.considered} certificates: {event.due} due, {event.undeployed} not deployed"
            )
        case events.CertificateStarted():
            return f"starting: {event.reason}"
        case events.CertificateFinished():
            return f"done: {event.action}"
        case _:
            return _problem_text(event)


def _problem_text(event: Event) -> str:
    match event:
        case events.Skipped():
            return f"skipped: {event.reason}"
        case events.Retrying():
            return f"{event.reason}; retrying in {event.seconds:.0f} s"
        case events.Failed():
            return f"failed: {event.message} ({event.code})"
        case events.NextCa():
            return (
                f"{label(event.failed_ca)} is out of service ({event.message}); asking"
                f" {label(event.ca)}"
            )
        case events.Warned():
            return f"warning: {event.message}"
        case _:
            return event.kind


def _service(service: str, server_name: str, address: str) -> str:
    at = f" at {address}" if address else ""
    return f"{service}{at}, server name {server_name}"


def _short(command: str) -> str:
    line = command.split("\n", 1)[0]
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
