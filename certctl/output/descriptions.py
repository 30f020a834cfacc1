"""Events in words, for the line that shows progress, for `-v` and for the log file.

Says what happened and to which certificate; when, and where it is written, is for others to add.
"""

from __future__ import annotations

from certctl import events
from certctl.events import Event

_WIDTH = 60


def describe(event: Event) -> str:
    """Return an event as one line."""
    text = _text(event)
    return f"{event.name}: {text}" if event.name else text


def _text(event: Event) -> str:
    match event:
        case events.AccountRegistered():
            return f"account {'registered' if event.created else 'found'}: {event.url}"
        case events.OrderPlaced():
            return f"order {'taken up again' if event.resumed else 'placed'}: {event.url}"
        case events.ChallengesPresented():
            return f"{event.type} answers in place for {', '.join(event.identifiers)}"
        case events.ChallengesSeen():
            return f"answers can be seen after {event.seconds:.1f} s; the CA is validating"
        case events.OrderReady():
            return "validated; waiting for the certificate"
        case events.CertificateSaved():
            until = f"{event.not_after:%Y-%m-%d %H:%M} UTC"
            return f"version {event.version} saved, valid until {until}"
        case _:
            return _text_of_what_follows(event)


def _text_of_what_follows(event: Event) -> str:
    match event:
        case events.HookStarted():
            return f"{event.event}: {_short(event.command)}"
        case events.HookFinished():
            ending = f"exit status {event.exit_status} after {event.seconds:.1f} s"
            return f"{event.event}: {_short(event.command)}: {ending}"
        case events.Deployed():
            return f"version {event.version} deployed"
        case events.Verified():
            return f"{event.service} serves it to {_asker(event.server_name, event.address)}"
        case events.VerifyFailed():
            asker = _asker(event.server_name, event.address)
            return f"{event.service} does not serve it to {asker}: {event.reason}"
        case events.Checking():
            return f"looking at {event.what}"
        case events.Revoked():
            return f"serial {event.serial} {'had been' if event.already else 'is'} revoked"
        case _:
            return _text_of_the_run(event)


def _text_of_the_run(event: Event) -> str:
    match event:
        case events.RunStarted():
            return f"{event.due} due and {event.undeployed} owed, of {event.considered}"
        case events.CertificateStarted():
            return f"begun: {event.reason}"
        case events.CertificateFinished():
            return f"ended: {event.action}"
        case _:
            return _text_of_trouble(event)


def _text_of_trouble(event: Event) -> str:
    match event:
        case events.Skipped():
            return f"passed over: {event.reason}"
        case events.Retrying():
            return f"{event.reason}; trying again in {event.seconds:.0f} s"
        case events.Failed():
            return f"failed: {event.message} ({event.code})"
        case events.Warned():
            return f"warning: {event.message}"
        case _:
            return event.kind


def _asker(server_name: str, address: str) -> str:
    return f"who asks {address} for {server_name}" if address else f"who asks for {server_name}"


def _short(command: str) -> str:
    line = command.split("\n", 1)[0]
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
