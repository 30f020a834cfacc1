"""What `certctl-certbot` leaves for scripts: links in certbot's directory, hooks, exit statuses;
and what it leaves alone. The CA is the development CA.
"""

from pathlib import Path

import pytest

from tests.lab.devca import DevCaServer
from tests.support.certbot_place import Place
from tests.support.command import certctl

KINDS = ("cert", "chain", "fullchain", "privkey")
NOT_DUE = "Certificate not yet due for renewal"


@pytest.fixture
def place(tmp_path: Path, devca: DevCaServer) -> Place:
    found = Place(tmp_path, devca)
    found.home.mkdir(mode=0o711)
    return found


def test_scripts_find_links_which_change_with_each_renewal(place: Place) -> None:
    done = place.certonly("-d", "a.example", "-n")

    assert (done.exit_status, done.stderr) == (0, "")
    links = {kind: place.live("a.example", kind).readlink() for kind in KINDS}
    assert links == {kind: place.home / "live" / "a.example" / f"{kind}.pem" for kind in KINDS}
    before = place.live("a.example").read_bytes()
    certctl("renew", "a.example", "--force", home=place.home)
    assert place.live("a.example").read_bytes() != before


def test_in_a_shared_volume_the_links_are_relative(place: Place) -> None:
    inside = {"CERTCTL_HOME": str(place.letsencrypt / "certctl")}
    place.letsencrypt.mkdir()

    done = place.certonly("-d", "a.example", "-n", variables=inside)

    assert done.exit_status == 0, done
    assert str(place.live("a.example").readlink()) == "../../certctl/live/a.example/fullchain.pem"
    moved = place.letsencrypt.rename(place.directory / "elsewhere")
    assert (moved / "live" / "a.example" / "fullchain.pem").read_bytes().startswith(b"-----BEGIN")


def test_a_second_run_orders_nothing_and_runs_no_hook(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")
    hooked = place.directory / "hooked"

    done = place.certonly("-d", "a.example", "-n", "--deploy-hook", f"touch {hooked}")

    assert (done.exit_status, done.stdout.splitlines()[0]) == (0, NOT_DUE)
    assert not hooked.exists()


def test_more_names_need_a_word_of_agreement(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")

    refused = place.certonly("-d", "a.example", "-d", "b.example", "-n")
    expanded = place.certonly("-d", "a.example", "-d", "b.example", "-n", "--expand")

    assert (refused.exit_status, "--expand" in refused.stderr) == (1, True)
    assert expanded.exit_status == 0
    assert "Domains: a.example b.example" in place.certbot("certificates").stdout


@pytest.mark.parametrize("flag", ["--deploy-hook", "--preferred-chain", "--pre-hook"])
def test_a_value_that_could_not_be_read_again_is_refused_and_nothing_is_saved(
    flag: str, place: Place
) -> None:
    done = place.certonly("-d", "a.example", flag, "one\ntwo", "-n")

    assert done.exit_status == 1
    assert f"{flag}: 'one\\ntwo' is not a line of text" in done.stderr
    assert place.certbot("certificates").stdout == "No certificates found.\n"


def test_a_name_in_unicode_for_a_certificate_is_found_by_every_subcommand(place: Place) -> None:
    issued = place.certonly("-d", "b\xfccher.example", "--cert-name", "b\xfccher", "-n")
    listed = place.certbot("certificates", "--cert-name", "b\xfccher")
    deleted = place.certbot("delete", "--cert-name", "b\xfccher", "-n")

    assert [each.exit_status for each in (issued, listed, deleted)] == [0, 0, 0]
    assert "Successfully received certificate." in issued.stdout
    assert "live/xn--bcher-kva/fullchain.pem" in listed.stdout
    assert not place.live("xn--bcher-kva").exists()


def test_a_person_is_asked_instead(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")

    done = place.certonly("-d", "a.example", "-d", "b.example", terminal="y\n")

    assert done.exit_status == 0
    assert "Replace it?" in " ".join(done.stderr.split())
    assert "Domains: a.example b.example" in place.certbot("certificates").stdout


def test_other_names_with_a_part_in_common_get_a_certificate_with_a_number(place: Place) -> None:
    place.certonly("-d", "a.example", "-d", "b.example", "-n")

    done = place.certonly("-d", "a.example", "-d", "c.example", "-n")

    assert done.exit_status == 0
    assert place.live("a.example-0001").exists()


def test_a_certificate_of_certbot_is_left_alone(place: Place) -> None:
    archived = place.letsencrypt / "archive" / "a.example" / "fullchain1.pem"
    archived.parent.mkdir(parents=True)
    archived.write_text("certbot's")
    place.live("a.example").parent.mkdir(parents=True)
    place.live("a.example").symlink_to("../../archive/a.example/fullchain1.pem")
    place.script("renewal/a.example.conf", "")

    done = place.certonly("-d", "a.example", "-n")

    assert done.exit_status == 1
    assert f"certctl import a.example --from {place.letsencrypt}" in done.stderr
    assert place.live("a.example").read_text() == "certbot's"


def test_files_of_someone_else_are_left_alone(place: Place) -> None:
    place.live("a.example").parent.mkdir(parents=True)
    place.live("a.example").write_text("a dummy")

    done = place.certonly("-d", "a.example", "-n")

    assert (done.exit_status, "is not overwritten" in done.stderr) == (1, True)
    assert place.live("a.example").read_text() == "a dummy"


def test_after_a_failure_there_is_no_directory_of_the_certificate(place: Place) -> None:
    ports = ("--http-01-port", "1")

    done = place.certbot(
        *("certonly", "--webroot", "-w", str(place.directory), "-d", "no.example", "-n"),
        *("--agree-tos", "--server", place.ca.directory_url, *ports),
    )

    assert done.exit_status == 1
    assert not place.live("no.example").parent.exists()


def test_each_executable_of_the_hook_directories_runs_once(place: Place) -> None:
    seen = place.directory / "seen"
    hook = place.script("renewal-hooks/deploy/1", f'echo "deploy $RENEWED_LINEAGE" >> {seen}')
    place.script("renewal-hooks/pre/1", f"echo pre >> {seen}")
    place.script("renewal-hooks/post/1", f"echo post >> {seen}")
    place.script("renewal-hooks/post/1~", f"echo backup >> {seen}")

    done = place.certonly("-d", "a.example", "-n", "--deploy-hook", str(hook))

    assert done.exit_status == 0, done
    lineage = place.live("a.example").parent
    assert seen.read_text().splitlines() == ["pre", f"deploy {lineage}", "post"]


def test_a_hook_that_was_removed_runs_no_more(place: Place) -> None:
    seen = place.directory / "seen"
    hook = place.script("renewal-hooks/deploy/1", f"echo ran >> {seen}")
    place.certonly("-d", "a.example", "-n")
    hook.unlink()

    done = place.certbot("renew", "--force-renewal")

    assert done.exit_status == 0, done
    assert seen.read_text() == "ran\n"


def test_options_of_renew_are_saved_with_what_it_renews_only(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")
    place.certonly("-d", "b.example", "-n")
    seen = place.directory / "seen"
    hook = f"echo $RENEWED_DOMAINS >> {seen}"

    idle = place.certbot("renew", "--deploy-hook", hook)
    place.certbot("renew", "--cert-name", "b.example", "--force-renewal", "--deploy-hook", hook)
    place.certbot("renew", "--force-renewal")

    assert "No renewals were attempted." in idle.stdout
    assert seen.read_text() == "b.example\nb.example\n"


def test_a_new_key_that_is_then_kept(place: Place) -> None:
    place.certonly("-d", "a.example", "-n", "--reuse-key")
    first = place.live("a.example", "privkey").read_bytes()

    place.certonly("-d", "a.example", "-n", "--new-key", "--reuse-key")
    second = place.live("a.example", "privkey").read_bytes()
    place.certbot("renew", "--force-renewal")

    assert second != first
    assert place.live("a.example", "privkey").read_bytes() == second


def test_defaults_come_from_the_file_of_the_user(place: Place) -> None:
    place.letsencrypt.mkdir()
    file = place.directory / ".config" / "letsencrypt" / "cli.ini"
    file.parent.mkdir(parents=True)
    file.write_text(
        f"server = {place.ca.directory_url}\nagree-tos = true\nauthenticator = standalone\n"
        f"http-01-port = {place.ca.http_port}\nnon-interactive = true\n"
    )

    done = place.certbot("certonly", "-d", "a.example", variables={"XDG_CONFIG_HOME": ""})

    assert done.exit_status == 0, done
    assert place.live("a.example").exists()


def test_a_file_of_defaults_that_others_can_write_is_refused(place: Place) -> None:
    file = place.directory / "c.ini"
    file.write_text("agree-tos = true\n")
    file.chmod(0o666)

    done = place.certbot("renew", "--config", str(file))

    assert done.exit_status != 0
    assert str(file) in done.stderr


@pytest.mark.parametrize(
    ("line", "status", "text"),
    [
        ("certonly --must-staple -d a.example", 2, "--must-staple"),
        ("certonly --no-such-flag", 2, "--no-such-flag"),
        ("certonly -n", 1, "no name was given"),
        ("certonly -d a.example -n", 1, "--standalone"),
        ("certonly -a dns-hetzner -d a.example -n", 1, "dns-hetzner"),
        ("certonly --manual -d a.example -n", 1, "--manual-auth-hook"),
        ("certonly --standalone --http-01-port 99999 -d a.example -n", 1, "--http-01-port"),
        ("certonly --webroot --webroot-path= -d a.example -n", 1, "-w DIR"),
        ("run --standalone -d a.example -n", 1, "certonly"),
        ("run --nginx --dry-run -d a.example -n", 1, "--dry-run"),
        ("renew -d a.example", 1, "--cert-name"),
        ("renew --cert-name no.example", 1, "no.example"),
        ("delete -n", 1, "--cert-name"),
        ("revoke --reason boredom --cert-name x -n", 2, "boredom"),
        ("certonly --key-type dsa -d a.example -n", 2, "dsa"),
        ("renew --csr request.pem -n", 1, "certonly"),
        ("revoke --cert-path /no/such/file -n", 1, "/no/such/file"),
        ("install --nginx --cert-path /x -d a.example -n", 1, "--cert-name"),
        ("enhance -d a.example -n", 1, "--redirect"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_why(
    line: str, status: int, text: str, place: Place
) -> None:
    done = place.certbot(*line.split())

    assert done.exit_status == status, done
    assert text in done.stderr


def test_certificates_are_listed_by_their_names(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")
    place.certonly("-d", "m\N{LATIN SMALL LETTER U WITH DIAERESIS}nchen.example", "-n")
    found = "Certificate Name: xn--mnchen-3ya.example"

    by_name = place.certbot("certificates", "-d", "m\u00fcnchen.example")
    unknown = place.certbot("certificates", "--cert-name", "no.example")

    assert (found in by_name.stdout, by_name.stdout.count("Certificate Name:")) == (True, 1)
    assert (unknown.exit_status, unknown.stdout) == (0, "No certificates found.\n")


def test_an_import_leaves_its_links_alone(place: Place) -> None:
    place.certonly("-d", "a.example", "-n")

    looked = certctl("import", "--from", str(place.letsencrypt), "--json", home=place.home)

    assert looked.json()["data"]["certificates"] == []


def test_nothing_is_ordered_for_a_directory_that_cannot_be_created(place: Place) -> None:
    place.letsencrypt.write_text("a file")
    orders = place.ca.orders()

    done = place.certonly("-d", "a.example", "-n")

    assert (done.exit_status, "--config-dir" in done.stderr) == (1, True)
    assert place.ca.orders() == orders
