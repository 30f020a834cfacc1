"""The command line of an nginx, read from the title of its master process."""

import pytest

from certctl.rules.nginx_command import global_directives, option


@pytest.mark.parametrize(
    ("title", "directives"),
    [
        ("/usr/sbin/nginx", ""),
        ("/usr/sbin/nginx -g daemon on; master_process on;", ""),
        ("nginx -g daemon off; -c /srv/nginx.conf", ""),
        ("nginx -c a.conf -g pid /run/x.pid;", "pid /run/x.pid;"),
        ("nginx -gpid /run/x.pid; daemon off; -p /srv", "pid /run/x.pid;"),
        ("nginx -g load_module a.so; env A=-c; -q", "load_module a.so; env A=-c;"),
        ("nginx -g events { } -c x", "events { }"),
        ("nginx -g pid", ""),
    ],
)
def test_directives_are_those_that_say_more_than_how_it_starts(title: str, directives: str) -> None:
    assert global_directives(title.split(" ")) == directives


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("nginx -c other.conf -p /srv", "other.conf"),
        ("nginx -p /srv -c/etc/x.conf", "/etc/x.conf"),
        ("nginx -g daemon off;", None),
    ],
)
def test_an_option_that_is_a_path_has_its_value(title: str, value: str | None) -> None:
    assert option(title.split(" "), "-c") == value
