"""A real browser opens both names of a proxy that serves certctl's certificates, with no warning,
before and after a renewal; it is no browser that would open anything.
"""

from pathlib import Path

from tests.lab.browser import Browser
from tests.lab.devca import DevCaServer
from tests.lab.nginx import nginx
from tests.lab.programs import require
from tests.lab.sites import Site
from tests.lab.web_application import web_application
from tests.real.driver import host

NAMES = ("one.browser.example.org", "two.browser.example.org")


def test_a_browser_that_trusts_the_root_opens_both_names_and_another_opens_none(
    devca: DevCaServer, tmp_path: Path
) -> None:
    require("chromium", "certutil", "nginx")
    here = host(tmp_path, devca)
    for name in NAMES:
        here.given(name)
    sites = [Site(name, here.home / "live" / name) for name in NAMES]
    trusting, wary = Browser(tmp_path / "trusting"), Browser(tmp_path / "wary")
    trusting.trust(devca.ca_bundle)

    with (
        web_application(tmp_path / "application") as backend,
        nginx(tmp_path / "front", sites, backend) as front,
    ):
        urls = {name: f"https://{name}:{front.port}/" for name in NAMES}
        first = {name: trusting.open(url) for name, url in urls.items()}
        refused = wary.open(urls[NAMES[0]])
        old = here.leaf(NAMES[0])
        renewed = here.certctl(
            *("edit", NAMES[0], "--key-type", "rsa-2048"),
            *("--deploy", "nginx", "--nginx-config", str(front.config)),
        )
        new = here.leaf(NAMES[0])
        shown = front.comes_to_serve(NAMES[0], new)
        second = trusting.open(urls[NAMES[0]])

    for name, page in first.items():
        assert f'"host":"{name}"' in page.document, page.log
    assert '"host":' not in refused.document
    assert "ERR_CERT_AUTHORITY_INVALID" in refused.log or "net_error -202" in refused.log
    assert renewed.exit_status == 0, renewed
    assert (shown, new != old) == (True, True)
    assert f'"host":"{NAMES[0]}"' in second.document, second.log
