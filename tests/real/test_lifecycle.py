"""A certificate from day to day: seen, renewed, deployed, and deployed again where that failed."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lab.authority import AcmeServer
from tests.lab.pebble import ChallengeTestServer, PebbleServer
from tests.real.driver import host, public_key


def facts_of(path: Path) -> dict[str, str]:
    """What a hook that ran `env` was told."""
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in lines}


# Seeing what is there.


def test_list_has_a_line_for_each_certificate(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("first.list.example", "www.first.list.example")
    here.given("second.list.example", "--key-type", "ecdsa-p384")

    finished = here.certctl("list")

    heading, *rows, _, count, footer = finished.stdout.splitlines()
    assert (finished.exit_status, finished.stderr) == (0, "")
    assert heading.split()[:4] == ["NAME", "STATE", "LEFT", "RENEWS"]
    assert [row.split()[:2] for row in rows] == [
        ["first.list.example", "valid"],
        ["second.list.example", "valid"],
    ]
    assert "www.first.list.example" in rows[0]
    assert "ecdsa-p384" in rows[1]
    assert count == "2: 2 valid"
    assert footer.startswith("Nothing renews")


def test_list_as_json_has_what_programs_need(pebble: PebbleServer, tmp_path: Path) -> None:
    here = host(tmp_path, pebble)
    here.given("json.example")

    finished = here.certctl("list", "--json")

    document = finished.json()
    (found,) = document["data"]["certificates"]
    leaf = here.leaf("json.example")
    assert (document["schema"], document["command"], document["status"]) == (1, "list", "success")
    assert finished.stderr == ""
    assert found["name"] == "json.example"
    assert found["names"] == ["json.example"]
    assert (found["version"], found["deployed"], found["state"]) == (1, True, "valid")
    assert int(found["serial"], 16) == leaf.serial_number
    assert found["not_after"] == leaf.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ")
    third = (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 3
    renews = datetime.fromisoformat(found["renews_at"])
    # By the schedule with the one, in the window that the other names.
    assert abs(renews - (leaf.not_valid_after_utc - third)) < timedelta(days=1)


def test_show_says_where_the_files_are_and_how_it_is_proved(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("show.example", "--reload", "true")

    finished = here.certctl("show", "show.example")
    as_json = here.show("show.example")

    assert finished.exit_status == 0
    assert str(here.live("show.example")) in finished.stdout
    assert f"{here.leaf('show.example').serial_number:x}" in finished.stdout
    assert str(pebble.http_port) in finished.stdout
    assert as_json["files"]["fullchain"] == str(here.live("show.example"))


def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    here.given("nearest.example")

    for command in ("show", "renew", "edit", "deploy", "rollback"):
        finished = here.certctl(command, "neerest.example")

        assert finished.exit_status == 2
        assert "there is no certificate named neerest.example" in finished.stderr
        assert "Did you mean nearest.example?" in finished.stderr


# Renewal.


def test_an_idle_renew_says_and_asks_nothing(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    here.given("idle.example")
    before = authority.request_count()

    finished = here.certctl("renew")

    assert (finished.exit_status, finished.stdout, finished.stderr) == (0, "", "")
    assert authority.request_count() == before


PARTS = ("cert", "chain", "fullchain", "privkey", "combined")


def test_a_deploy_hook_is_told_about_each_version(pebble: PebbleServer, tmp_path: Path) -> None:
    here, told = host(tmp_path, pebble), tmp_path / "told"
    here.given("hook.example", "www.hook.example", "--deploy-hook", f"env > {told}")
    first = facts_of(told)

    renewed = here.certctl("renew", "--force")

    second, live = facts_of(told), here.home / "live" / "hook.example"
    assert renewed.exit_status == 0
    assert (first["CERTCTL_CERT_VERSION"], first["CERTCTL_PREVIOUS_VERSION"]) == ("1", "")
    assert {name: second[name] for name in second if name.startswith("CERTCTL_")} == {
        "CERTCTL_EVENT": "deploy",
        "CERTCTL_CERT_NAME": "hook.example",
        "CERTCTL_DOMAINS": "hook.example www.hook.example",
        "CERTCTL_LIVE": str(live),
        "CERTCTL_CERT_FILE": str(live / "cert.pem"),
        "CERTCTL_CHAIN_FILE": str(live / "chain.pem"),
        "CERTCTL_FULLCHAIN_FILE": str(live / "fullchain.pem"),
        "CERTCTL_PRIVKEY_FILE": str(live / "privkey.pem"),
        "CERTCTL_COMBINED_FILE": str(live / "combined.pem"),
        "CERTCTL_CERT_VERSION": "2",
        "CERTCTL_PREVIOUS_VERSION": "1",
        "CERTCTL_NOT_AFTER": here.leaf("hook.example").not_valid_after_utc.strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        ),
        "CERTCTL_SERIAL": here.show("hook.example")["serial"],
        **{f"CERTCTL_ECDSA_{each.upper()}_FILE": str(live / f"{each}.pem") for each in PARTS},
        **{f"CERTCTL_RSA_{each.upper()}_FILE": "" for each in PARTS},
    }
    assert second["RENEWED_LINEAGE"] == str(live)
    assert second["RENEWED_DOMAINS"] == "hook.example www.hook.example"


def test_a_renewal_has_a_new_key_unless_the_old_one_is_to_stay(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    here.given("new-key.example")
    here.given("same-key.example", "--reuse-key")
    before = [here.leaf(name) for name in ("new-key.example", "same-key.example")]

    assert here.certctl("renew", "--force").exit_status == 0

    after = [here.leaf(name) for name in ("new-key.example", "same-key.example")]
    kept = [public_key(old) == public_key(new) for old, new in zip(before, after, strict=True)]
    assert kept == [False, True]


def test_pre_and_post_hooks_surround_a_run_that_has_work(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here, said = host(tmp_path, pebble), tmp_path / "said"
    lines = "[deploy]\n" + "\n".join(
        f"{kind} = 'echo {word} >> {said}'"
        for kind, word in (
            ("pre_hook", "pre"),
            ("deploy_hook", "deploy"),
            ("reload", "reload"),
            ("post_hook", "post"),
        )
    )
    here.add_specs(2, lines)

    first, second = here.certctl("renew"), here.certctl("renew")

    assert (first.exit_status, second.exit_status) == (0, 0)
    assert said.read_text().split() == ["pre", "deploy", "deploy", "reload", "post"]


def test_ten_certificates_are_reloaded_once(pebble: PebbleServer, tmp_path: Path) -> None:
    here, told = host(tmp_path, pebble), tmp_path / "told"
    made = here.add_specs(10, f"deploy.reload = 'echo $RENEWED_DOMAINS >> {told}'")

    finished = here.certctl("renew")

    assert finished.exit_status == 0, finished
    assert [here.version(name) for name in made] == [1] * 10
    assert told.read_text() == " ".join(made) + "\n"
    assert "10 certificates: 10 issued." in finished.stdout


def test_one_failure_stops_none_of_the_others(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    challenge_dns.set_servfail("by-hand-1.example")
    here.add_specs(3)
    try:
        finished = here.certctl("renew")
    finally:
        challenge_dns.clear_servfail("by-hand-1.example")
    listed = here.certctl("list", "--json").json()["data"]["certificates"]

    assert finished.exit_status == 3
    assert "by-hand-1.example" in finished.stderr
    assert [each["version"] for each in listed] == [1, None, 1]
    assert [each["state"] for each in listed] == ["valid", "missing", "valid"]
    assert here.leftovers() == []


def test_a_failure_that_waits_still_counts_and_force_tries_at_once(
    pebble: PebbleServer, challenge_dns: ChallengeTestServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    challenge_dns.set_servfail("by-hand-0.example")
    here.add_specs(1)
    assert here.certctl("renew").exit_status == 1
    challenge_dns.clear_servfail("by-hand-0.example")
    before = pebble.request_count()

    waiting = here.certctl("renew", "--json")
    asked = pebble.request_count() - before
    forced = here.certctl("renew", "--force")

    assert (waiting.exit_status, asked) == (1, 0)
    assert "by-hand-0.example" in waiting.stdout
    assert (forced.exit_status, here.certctl("renew").exit_status) == (0, 0)


def test_two_processes_that_renew_one_certificate_order_it_once(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    (name,) = here.add_specs(1)
    before = authority.request_count()

    with here.begin("renew") as one, here.begin("renew") as other:
        finished = [one.finish(), other.finish()]

    assert [each.exit_status for each in finished] == [0, 0], finished
    assert (here.version(name), authority.orders(before)) == (1, 1)


def test_several_processes_that_issue_one_certificate_order_it_once(
    authority: AcmeServer, tmp_path: Path
) -> None:
    here = host(tmp_path, authority)
    before = authority.request_count()

    with ExitStack() as stack:
        running = [
            stack.enter_context(here.begin("issue", "together.example", "--lock-timeout", "50"))
            for _ in range(3)
        ]
        finished = [each.finish() for each in running]

    assert [(each.exit_status, each.stderr) for each in finished] == [(0, "")] * 3
    assert (here.version("together.example"), authority.orders(before)) == (1, 1)
    assert sum("version 1 is live" in each.stdout for each in finished) == 1


def test_a_dry_run_needs_a_staging_directory(authority: AcmeServer, tmp_path: Path) -> None:
    here = host(tmp_path, authority)
    before = authority.request_count()

    finished = here.certctl("issue", "dry.example", "--dry-run")

    assert finished.exit_status in {1, 2}
    assert "has no staging directory" in finished.stderr
    assert authority.request_count() == before
    assert not (here.home / "certificates").exists()


# Deployments that are pending.


def test_a_deploy_that_failed_is_owed_until_it_holds(pebble: PebbleServer, tmp_path: Path) -> None:
    here, mended = host(tmp_path, pebble), tmp_path / "mended"
    hook = f"echo the proxy says no; test -e {mended}"

    issued = here.certctl("issue", "undeployed.example", "--deploy-hook", hook)
    waiting = here.certctl("renew")
    state = here.show("undeployed.example")
    mended.touch()
    paid = here.certctl("deploy", "--pending")
    settled = here.certctl("renew")

    assert issued.exit_status == 4
    assert "the proxy says no" in issued.stderr
    assert "certctl deploy undeployed.example" in issued.stderr
    assert (state["state"], state["deployed"], state["version"]) == ("undeployed", False, 1)
    assert waiting.exit_status == 4
    assert (paid.exit_status, settled.exit_status) == (0, 0)
    assert here.show("undeployed.example")["deployed"] is True


def test_renew_pays_a_debt_once_its_time_has_come(pebble: PebbleServer, tmp_path: Path) -> None:
    here, mended = host(tmp_path, pebble), tmp_path / "mended"
    assert (
        here.certctl("issue", "pending.example", "--deploy-hook", f"test -e {mended}").exit_status
        == 4
    )
    mended.touch()
    # As if the minute that it waits had passed.
    memory = here.home / "deployed" / "pending.example.json"
    remembered = json.loads(memory.read_text())
    (deployment,) = remembered["deployments"]
    assert datetime.fromisoformat(deployment["retry_at"]) > datetime.now(UTC)
    deployment["retry_at"] = datetime.now(UTC).isoformat()
    memory.write_text(json.dumps(remembered))
    before = pebble.request_count()

    finished = here.certctl("renew")

    assert (finished.exit_status, finished.stderr) == (0, "")
    assert pebble.request_count() == before
    assert here.show("pending.example")["deployed"] is True


def test_a_reload_that_fails_is_owed_by_every_certificate_that_asked_for_it(
    pebble: PebbleServer, tmp_path: Path
) -> None:
    here = host(tmp_path, pebble)
    made = here.add_specs(2, "deploy.reload = 'echo broken; false'")

    finished = here.certctl("renew")

    assert finished.exit_status == 4
    assert [here.show(name)["state"] for name in made] == ["undeployed", "undeployed"]
