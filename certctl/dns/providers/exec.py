"""TXT records by somebody's own command: one call a record, the facts in its environment.

Nothing that came from a CA or from the DNS is ever part of a command line. certbot's variables are
set as well, so that its manual hooks work as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from certctl.dns.system import ProviderSystem
from certctl.errors import ChallengeError, ConfigurationError, Interrupted
from certctl.models import TxtRecord, Value
from certctl.options import Kind, Option
from certctl.ports import DnsProvider

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.exec.hook",
        Kind.TEXT,
        None,
        "Command that writes and removes TXT records: run with `present` or `cleanup` as its last"
        " argument, and the record in CERTCTL_DNS_NAME, CERTCTL_DNS_VALUE and CERTCTL_DNS_ZONE.",
        flag="--dns-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DNS_HOOK",
    ),
    Option(
        "dns.exec.cleanup_hook",
        Kind.TEXT,
        None,
        "Command that removes TXT records; --dns-hook then only writes them, and neither gets an"
        " argument, as with certbot's --manual-auth-hook and --manual-cleanup-hook.",
        flag="--dns-cleanup-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DNS_CLEANUP_HOOK",
    ),
)

PRESENT = "present"
CLEANUP = "cleanup"

_CODE = "challenge.dns.hook"
_SHOWN_CHARACTERS = 2000


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` where no command is given."""
    hook = settings.get("dns.exec.hook")
    if not hook:
        raise ConfigurationError(
            "the DNS provider exec needs a command",
            hint="Give one with --dns-hook COMMAND.",
        )
    cleanup_hook = settings.get("dns.exec.cleanup_hook")
    return ExecProvider(str(hook), str(cleanup_hook) if cleanup_hook else None, system)


class ExecProvider:
    """Runs `hook` for each record; `cleanup_hook` removes them where it is given."""

    def __init__(self, hook: str, cleanup_hook: str | None, system: ProviderSystem) -> None:
        self._hook = hook
        self._cleanup_hook = cleanup_hook
        self._system = system
        # Such commands often edit one zone file: one at a time, as other clients call them.
        self._one_at_a_time = threading.Lock()
        self._outputs: dict[TxtRecord, str] = {}

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, in order. Raises `ChallengeError` at the first failure."""
        for index, record in enumerate(records):
            with self._one_at_a_time:
                self._outputs[record] = self._run(
                    PRESENT, record, facts(PRESENT, records, index), self._system.stop
                )

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, whatever becomes of the others; raises the first failure.

        An interrupted run cleans up too, so that only the time limit ends these calls.
        """
        failures: list[ChallengeError] = []
        for index, record in enumerate(records):
            with self._one_at_a_time:
                said = {"CERTBOT_AUTH_OUTPUT": self._outputs.pop(record, "").strip()}
                try:
                    self._run(CLEANUP, record, facts(CLEANUP, records, index) | said, None)
                except ChallengeError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def _run(
        self,
        action: str,
        record: TxtRecord,
        environment: Mapping[str, str],
        stop: threading.Event | None,
    ) -> str:
        from certctl.system import process  # noqa: PLC0415 - the options need no processes

        completed = process.run(
            self._command(action),
            environment=environment,
            arguments=() if self._cleanup_hook else (action,),
            timeout=self._system.hook_timeout,
            stop=stop,
        )
        if completed.stopped:
            raise Interrupted(f"the DNS hook was stopped while it worked on {record.name}")
        if completed.exit_status == 0 and not completed.timed_out:
            return completed.output
        what = (
            f"was ended after {completed.seconds:.0f} s, its time limit"
            if completed.timed_out
            else f"failed with exit status {completed.exit_status}"
        )
        said = completed.output.strip()[-_SHOWN_CHARACTERS:]
        raise ChallengeError(
            f"the DNS hook ({action} {record.name}) {what}"
            + (f"; it said: {said}" if said else " and said nothing"),
            hint="Run the command by hand with the variables CERTCTL_DNS_* set"
            + (" (or give it longer: --hook-timeout)." if completed.timed_out else "."),
            code=_CODE,
        )

    def _command(self, action: str) -> str:
        if self._cleanup_hook is not None:
            return self._cleanup_hook if action == CLEANUP else self._hook
        # The argument, which is one of two fixed words, goes to the last command of the line.
        return self._hook.rstrip("; \t") + ' "$@"'


def facts(action: str, records: Sequence[TxtRecord], index: int) -> dict[str, str]:
    """Return the environment of the call for `records[index]`, certbot's variables among it."""
    record = records[index]
    return {
        "CERTCTL_DNS_ACTION": action,
        "CERTCTL_DNS_NAME": record.name,
        "CERTCTL_DNS_VALUE": record.value,
        "CERTCTL_DNS_ZONE": record.zone,
        "CERTCTL_DNS_DOMAIN": record.domain,
        "CERTBOT_DOMAIN": record.domain,
        "CERTBOT_VALIDATION": record.value,
        "CERTBOT_REMAINING_CHALLENGES": str(len(records) - index - 1),
        "CERTBOT_ALL_DOMAINS": ",".join(each.domain for each in records),
    }
