"""uacme: `/etc/ssl/uacme` with `NAME/cert.pem` and `private/NAME/key.pem`.

The CA, the account's URL and the hook are on no disk but in the command line that runs uacme.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from certctl.importers.accounts import read_account
from certctl.importers.schedules import (
    Run,
    flag_values,
    leading_assignments,
    path_of,
    runs_of,
    stop_line,
)
from certctl.importers.system import WAY, Draft, ImportSystem, read_pair
from certctl.model.importing import (
    FoundAccount,
    FoundCertificate,
    FoundClient,
    FoundFiles,
    FoundSchedule,
)

NAME = "uacme"
HOMES = ("/etc/ssl/uacme", "/usr/local/etc/ssl/uacme")
WORDS = ("uacme",)
_DEFAULT_CA = "acme-v02.api.letsencrypt.org"
_OWN_HOOKS = ("/usr/share/uacme/uacme.sh", "/usr/local/share/uacme/uacme.sh")
"""uacme's hook for HTTP-01, which writes a file into a directory."""

_PLACE, _USUAL_PLACE = "UACME_CHALLENGE_PATH", "/var/www/.well-known/acme-challenge"
_OF_CRON = frozenset(
    {
        *("SHELL", "PATH", "HOME", "LOGNAME", "USER", "LANG", "LC_ALL", "TZ", "CRON_TZ"),
        *("MAILTO", "MAILFROM", "RANDOM_DELAY", "START_HOURS_RANGE"),
    }
)
"""Variables that do not concern a hook."""


def homes(system: ImportSystem) -> Sequence[str]:
    """Return the homes at the usual places, those below root's home, and those that command lines
    name.
    """
    named = system.places(NAME, WORDS, "-c", "--confdir")
    below = [f"/root/{each}" for each in system.tree.directories("/root") if "uacme" in each]
    places = dict.fromkeys([*HOMES, *named, *below])
    return [each for each in places if each.startswith("/") and is_home(system, each)]


def is_home(system: ImportSystem, path: str) -> bool:
    """Return whether a directory is one that uacme has used."""
    return "key.pem" in system.tree.files(f"{path}/private")


def read(system: ImportSystem, home: str) -> FoundClient:
    """Return what uacme has in a home. Raises nothing for damaged files."""
    tree = system.tree
    account = _account(system, home)
    problems = [] if account.problem is None else [account.problem]
    certificates = tuple(_certificates(system, home, account))
    earlier = any(
        name.startswith("cert-")
        for each in tree.directories(home)
        for name in tree.files(f"{home}/{each}")
    )
    notes = ("earlier certificates (cert-TIME.pem) are not moved",) if earlier else ()
    return FoundClient(NAME, home, None, (account,), certificates, (), tuple(problems), notes)


def _commands(system: ImportSystem, home: str) -> list[tuple[FoundSchedule, Run]]:
    return [
        (each, run)
        for each in system.commands(NAME)
        for run in runs_of(each.command, WORDS)
        if _confdir(each, run) == home
    ]


def _confdir(schedule: FoundSchedule, run: Run) -> str:
    stated = next(iter(flag_values(run.words, "-c", "--confdir")), HOMES[0])
    return path_of(stated, schedule.environment, run.directory)


def _account(system: ImportSystem, home: str) -> FoundAccount:
    commands = _commands(system, home)
    ca = system.known_cas.get(_DEFAULT_CA) if commands else None
    for _, run in commands:
        ca = next(iter(flag_values(run.words, "-a", "--acme-url")), None) or ca
    return read_account(
        system.tree,
        home,
        client=NAME,
        id=home,
        key_file=f"{home}/private/key.pem",
        ca=ca,
        url=None,
    )


def _certificates(
    system: ImportSystem, home: str, account: FoundAccount
) -> Iterator[FoundCertificate]:
    tree = system.tree
    for name in tree.directories(home):
        if name == "private" or "cert.pem" not in tree.files(f"{home}/{name}"):
            continue
        files = FoundFiles(f"{home}/{name}/cert.pem", f"{home}/private/{name}/key.pem")
        draft = Draft(NAME, name, home, files, read_pair(tree, files, home))
        draft.options["reuse_key"] = True
        draft.account_key_file = account.key_file
        _command(system, draft, account)
        yield draft.finished()


def _hook(draft: Draft, hook: str, *, wildcard: bool) -> None:
    """Add the hook as what validates the names."""
    draft.method = "dns exec (uacme protocol)" if wildcard else "http-hook (uacme protocol)"
    draft.options |= (
        {
            "challenge.method": "dns",
            "challenge.dns_provider": "exec",
            "dns.exec.hook": hook,
            "dns.exec.protocol": "uacme",
        }
        if wildcard
        else {
            "challenge.method": "http-hook",
            "challenge.http_hook": hook,
            "challenge.http_hook_protocol": "uacme",
        }
    )


def _variables(draft: Draft, environment: Mapping[str, str], *, wildcard: bool) -> None:
    """Ask for a hook that needs none of the variables that are set for it where uacme is run."""
    names = sorted(each for each in environment if each not in _OF_CRON)
    if names:
        draft.ask(
            f"{draft.conf} sets {', '.join(names)} for its hook, which gets none of that from"
            " certctl; set them in a script that calls the hook",
            "--dns exec --dns-hook COMMAND" if wildcard else "--http-hook COMMAND",
        )


def _command(system: ImportSystem, draft: Draft, account: FoundAccount) -> None:
    names = (
        set() if draft.pair.facts is None else {each.value for each in draft.pair.facts.identifiers}
    )
    for schedule, run in _commands(system, draft.home):
        if not names or not names <= set(run.words):
            continue
        draft.ca = account.ca
        draft.conf = schedule.where
        draft.stop, by_hand = stop_line(schedule, run, system.commands(NAME))
        if by_hand is not None:
            draft.ask(f"{schedule.where} would go on renewing it with uacme", by_hand)
        hook = next(iter(flag_values(run.words, "-h", "--hook")), None)
        if hook is None:
            break
        wildcard = any(each.startswith("*.") for each in names)
        environment = {**schedule.environment, **leading_assignments(run.words)}
        if hook in _OWN_HOOKS and not wildcard:
            draft.method = "webroot"
            draft.options |= {
                "challenge.method": "webroot",
                "challenge.directory": environment.get(_PLACE, _USUAL_PLACE),
            }
        else:
            _hook(draft, hook, wildcard=wildcard)
            _variables(draft, environment, wildcard=wildcard)
        if run.after:
            draft.options["deploy.deploy_hook"] = run.after
        return
    draft.ca = account.ca
    if draft.ca is None:
        draft.ask("its CA is recorded nowhere", "--ca CA")
    draft.ask(
        "uacme records nowhere how names are validated, and no cron line or unit names it", WAY
    )
