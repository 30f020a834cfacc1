"""Hooks, targets, copies and the live check."""

from __future__ import annotations

from certctl.model.errors import ConfigurationError
from certctl.model.spec import OnFailure
from certctl.rules.copies import canonical_copy
from certctl.rules.option import PLUGIN_NAME, Kind, Option
from certctl.rules.service_address import canonical_service


def _target(value: object) -> str:
    """Return `value` if it can be the name of a deploy target, which need not exist."""
    if not isinstance(value, str) or not PLUGIN_NAME.match(value):
        raise ConfigurationError(
            f"{value!r} is not a valid deploy target",
            hint="Give the name of a program, such as nginx or haproxy. To run a command instead,"
            " use --reload.",
        )
    return value


DEPLOYMENT_OPTIONS: tuple[Option, ...] = (
    Option(
        "deploy.pre_hook",
        Kind.TEXT,
        None,
        "Command to run before certificates are ordered, once per run.",
        flag="--pre-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_PRE_HOOK",
    ),
    Option(
        "deploy.deploy_hook",
        Kind.TEXT,
        None,
        "Command to run after the certificate was issued or renewed, once for each new version.",
        brief="Command to run for each new version.",
        flag="--deploy-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DEPLOY_HOOK",
    ),
    Option(
        "deploy.post_hook",
        Kind.TEXT,
        None,
        "Command to run after certificates were ordered, once per run, even if an order failed.",
        flag="--post-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_POST_HOOK",
    ),
    Option(
        "deploy.reload",
        Kind.TEXT,
        None,
        "Command that reloads the service using the certificate. Run once per run, even if "
        "several certificates share it.",
        brief="Command that reloads the service.",
        flag="--reload",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_RELOAD",
    ),
    Option(
        "deploy.targets",
        Kind.TEXTS,
        (),
        "Program to deploy to: nginx, apache, haproxy, caddy, traefik, stunnel, postfix or "
        "dovecot. Its configuration is tested before it is reloaded. Can be repeated.",
        brief="Deploy to a server such as nginx or haproxy.",
        flag="--deploy",
        metavar="TARGET",
        in_spec=True,
        variable="CERTCTL_DEPLOY",
        canonical=_target,
    ),
    Option(
        "deploy.copy",
        Kind.TEXTS,
        (),
        "Also write the certificate to this file. FORMAT is fullchain, cert, chain, privkey, "
        "combined, pkcs12 or der; append ,owner= ,group= ,mode= or ,password_file= if needed.",
        flag="--copy",
        metavar="FORMAT:PATH",
        in_spec=True,
        in_file=False,
        variable="",
        canonical=canonical_copy,
    ),
    Option(
        "deploy.verify",
        Kind.TEXTS,
        (),
        "Check after a deploy that this service serves the certificate, on all its IP addresses "
        "and for all names. Append /starttls=smtp, imap, pop3 or ldap if needed. Can be repeated.",
        brief="Check that this server serves the certificate.",
        flag="--verify",
        metavar="HOST[:PORT]",
        in_spec=True,
        variable="CERTCTL_VERIFY",
        canonical=canonical_service,
    ),
    Option(
        "deploy.probe",
        Kind.BOOLEAN,
        True,
        "Check after a deploy that the new certificate is being served, by the services of "
        "--verify or else where the deploy targets listen.",
        flag="--probe/--no-verify",
        in_spec=True,
        variable="CERTCTL_PROBE",
    ),
    Option(
        "deploy.verify_timeout",
        Kind.SECONDS,
        30.0,
        "How long to wait after a deploy for the new certificate to be served.",
        flag="--verify-timeout",
        in_spec=True,
        variable="CERTCTL_VERIFY_TIMEOUT",
    ),
    Option(
        "deploy.on_failure",
        Kind.CHOICE,
        OnFailure.KEEP.value,
        "What to do if a configuration test, a reload or the live check fails: keep the new "
        "version live, or roll back to the previous one if that works better.",
        brief="Action if a deployment fails.",
        flag="--on-failure",
        choices=tuple(each.value for each in OnFailure),
        in_spec=True,
        variable="CERTCTL_ON_FAILURE",
    ),
    Option(
        "deploy.lineage",
        Kind.PATH,
        None,
        "Directory that deploy hooks get as RENEWED_LINEAGE. Set by `certctl import` to the path of"
        " the client that had the certificate, which its hooks know.",
        in_spec=True,
        in_file=False,
        variable="",
    ),
    Option(
        "deploy.hook_timeout",
        Kind.SECONDS,
        300.0,
        "How long a hook or a reload command may run before it is killed.",
        flag="--hook-timeout",
        in_spec=True,
        variable="CERTCTL_HOOK_TIMEOUT",
        minimum=1,
    ),
)
