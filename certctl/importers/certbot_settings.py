"""What a renewal configuration of certbot says, in certctl's settings: how names are validated,
hooks, installers and options.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from certctl.importers.system import WAY, Draft, port_of
from certctl.importers.tree import Tree, Unreadable
from certctl.model.text import printable, quoted
from certctl.rules.certbot_credentials import of_plugin


def parsed(tree: Tree, path: str, home: str) -> Mapping[str, object]:
    """Return a file in certbot's format, without interpolation. Raises `Unreadable`."""
    from configobj import ConfigObj, ConfigObjError  # noqa: PLC0415 - only an import needs it

    lines = tree.text(path, home).splitlines()
    try:
        document: Mapping[str, object] = ConfigObj(lines, interpolation=False)
    except (ConfigObjError, UnicodeError, RecursionError) as error:
        raise Unreadable(f"{path}: {printable(str(error))}") from error
    return document


def validation(tree: Tree, draft: Draft, parameters: Mapping[str, object]) -> None:
    """Add the settings that say how names are validated, or the question that settles it."""
    authenticator = text_of(parameters.get("authenticator"))
    plugin = (authenticator or "").rpartition(":")[2]
    match plugin:
        case "webroot":
            _webroot(draft, parameters)
        case "standalone":
            _standalone(draft, parameters)
        case "manual":
            _manual(draft, parameters)
        case "nginx" | "apache":
            draft.method = None
            draft.options.setdefault("deploy.targets", (plugin,))
            draft.ask(
                f"certbot changed the configuration of {plugin} to validate its names; certctl"
                " writes a file into the directory that serves them",
                "--webroot DIR, or --tls-alpn",
            )
        case _ if plugin.startswith("dns-"):
            _dns(tree, draft, plugin.removeprefix("dns-"), parameters)
        case _:
            draft.ask(
                "how its names are validated is not recorded"
                if not plugin
                else f"certctl has no equal of certbot's plug-in {quoted(plugin)}",
                WAY,
            )


def _webroot(draft: Draft, parameters: Mapping[str, object]) -> None:
    draft.method = "webroot"
    draft.options["challenge.method"] = "webroot"
    paths = _texts(parameters.get("webroot_path"))
    table = parameters.get("webroot_map")
    named = {
        str(name).lower(): directory
        for name, value in (table.items() if isinstance(table, Mapping) else ())
        if (directory := text_of(value))
    }
    names = (
        [] if draft.pair.facts is None else [each.value for each in draft.pair.facts.identifiers]
    )
    directories = {each: named.get(each, paths[-1] if paths else None) for each in names}
    if missing := [name for name, directory in directories.items() if directory is None]:
        every = (f"--webroot {name}={place or 'DIR'}" for name, place in directories.items())
        draft.ask(f"no directory is recorded for {', '.join(missing)}", " ".join(every))
        return
    different = set(directories.values())
    if len(different) == 1:
        draft.options["challenge.webroots"] = (str(next(iter(different))),)
    else:
        draft.options["challenge.webroots"] = tuple(
            f"{name}={directory}" for name, directory in directories.items()
        )


def _standalone(draft: Draft, parameters: Mapping[str, object]) -> None:
    draft.method = "standalone"
    draft.options["challenge.method"] = "standalone"
    port = text_of(parameters.get("http01_port"))
    address = text_of(parameters.get("http01_address"))
    if port is not None and port != "80":
        draft.options["challenge.http_port"] = port_of(port)
    if address is not None:
        draft.options["challenge.http_address"] = address


def _manual(draft: Draft, parameters: Mapping[str, object]) -> None:
    hook, cleanup = (
        _command(parameters.get(each)) for each in ("manual_auth_hook", "manual_cleanup_hook")
    )
    challenges = _texts(parameters.get("pref_challs")) or _texts(parameters.get("pref_chall"))
    if hook is None:
        draft.ask(
            "a person answered its challenges by hand; certctl can ask too, but not when cron runs"
            " it",
            "--dns manual, or another way such as --webroot DIR",
        )
        return
    if challenges[:1] in (["dns-01"], ["dns"]):
        draft.method = "dns exec (certbot protocol)"
        draft.options |= {"challenge.method": "dns", "challenge.dns_provider": "exec"}
        prefix = "dns.exec."
        draft.options["dns.exec.protocol"] = "certbot"
    else:
        draft.method = "http-hook (certbot protocol)"
        draft.options["challenge.method"] = "http-hook"
        draft.options["challenge.http_hook_protocol"] = "certbot"
        prefix = "challenge.http_"
    draft.options[f"{prefix}hook"] = hook
    if cleanup is not None:
        draft.options[f"{prefix}cleanup_hook"] = cleanup


def _dns(tree: Tree, draft: Draft, plugin: str, parameters: Mapping[str, object]) -> None:
    draft.method = f"dns {plugin}"
    prefix = f"dns_{plugin.replace('-', '_')}"
    path = text_of(parameters.get(f"{prefix}_credentials"))
    if path is None:
        draft.ask(
            f"its credentials for {plugin} are not in certbot's configuration, but in the"
            " environment or in files of the provider's library",
            "--dns-credentials NAME",
        )
        return
    try:
        given = {
            key.removeprefix(f"{prefix}_"): str(value)
            for key, value in parsed(tree, path, PurePosixPath(path).parent.as_posix()).items()
            if key.startswith(f"{prefix}_") and not isinstance(value, Mapping)
        }
    except Unreadable as error:
        draft.ask(f"its DNS credentials cannot be read: {error}", "--dns-credentials NAME")
        return
    credentials = of_plugin(plugin, given)
    if credentials is None:
        draft.ask(
            f"the credentials for {plugin} in {path} have no equal in certctl",
            "--dns-credentials NAME",
        )
        return
    draft.options["challenge.method"] = "dns"
    draft.credentials = credentials


def options(draft: Draft, document: Mapping[str, object], parameters: Mapping[str, object]) -> None:
    """Add the settings that do not concern validation."""
    for key, option in (("reuse_key", "reuse_key"), ("allow_subset_of_names", "allow_subset")):
        if _truth(parameters.get(key)):
            draft.options[option] = True
    for key, option in (
        ("preferred_profile", "profile"),
        ("required_profile", "required_profile"),
        ("preferred_chain", "preferred_chain"),
    ):
        if text := text_of(parameters.get(key)):
            draft.options[option] = text
    for key, option in (
        ("pre_hook", "deploy.pre_hook"),
        ("renew_hook", "deploy.deploy_hook"),
        ("deploy_hook", "deploy.deploy_hook"),
        ("post_hook", "deploy.post_hook"),
    ):
        if command := _command(parameters.get(key)):
            draft.options[option] = command
    _installer(draft, text_of(parameters.get("installer")))
    _renewal(draft, document, parameters)


def _installer(draft: Draft, installer: str | None) -> None:
    if installer in ("nginx", "apache"):
        draft.options["deploy.targets"] = (installer,)
    elif installer is not None:
        draft.ask(
            f"certctl has no equal of certbot's installer {quoted(installer)}",
            "--deploy PROGRAM or --deploy-hook COMMAND",
        )


def _renewal(
    draft: Draft, document: Mapping[str, object], parameters: Mapping[str, object]
) -> None:
    for source in (document, parameters):
        if text_of(source.get("autorenew")) is not None and not _truth(source.get("autorenew")):
            draft.autorenew = False
            draft.options["autorenew"] = False
    before = text_of(document.get("renew_before_expiry"))
    if before is not None and before != "30 days":
        draft.notes.append(
            f"certbot renewed it {before} before it expires; certctl follows the CA's renewal"
            " window, or else renews when a third of its lifetime is left"
        )
    if _truth(parameters.get("must_staple")) and not draft.pair.must_staple:
        draft.notes.append("OCSP Must-Staple was asked for; the next one comes without")


def text_of(value: object) -> str | None:
    """Return a setting that is one text; certbot writes None as a word, and so did people."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if not isinstance(value, str) or value in ("", "None"):
        return None
    return value


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value not in ("", "None") else []
    return (
        [each for each in value if isinstance(each, str) and each]
        if isinstance(value, list)
        else []
    )


def _command(value: object) -> str | None:
    """Return a command line; one with a comma outside quotes is read as a list."""
    return ", ".join(_texts(value)) or None


def _truth(value: object) -> bool:
    return (text_of(value) or "").lower() in ("true", "yes", "1", "on")
