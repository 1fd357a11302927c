"""Ids go to friends only, whatever a host is made to look like."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from logferry.handlers.destinations import DEFAULT, Destinations, destinations

NEAR = [
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
# A last label that is no number: as all top-level domains.
TOP = st.sampled_from(["com", "example", "io", "localhost-evil", "internals", "xn--p1ai", "localx"])


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "redis", "REDIS", "redis.", "127.0.0.1", "127.8.9.1", "10.1.2.3", "172.31.0.1"),
        *("192.168.1.1", "169.254.0.7", "::1", "[::1]", "fd00::7", "[fe80::1%eth0]", "fe80::1%25eth0"),
        *(
            "::ffff:10.0.0.1",
            "stock.internal",
            "stock.internal.",
            "a.b.local",
            "stock.shop.svc",
            "x.localhost",
        ),
        *("STOCK.INTERNAL", "my_service", "bücher", "xn--bcher-kva", "bücher.internal", "stock。internal"),
    ],
)
def test_friends(host: str) -> None:
    """Near addresses, single labels, and names that only exist within."""
    assert DEFAULT.allows(host)


@pytest.mark.parametrize(
    "host",
    [
        *(
            None,
            "",
            ".",
            "..",
            "example.com",
            "example.com.",
            "internal.example.com",
            "8.8.8.8",
            "172.32.0.1",
        ),
        *("192.169.0.1", "11.0.0.1", "2001:db8::1", "[2001:4860:4860::8888]", "::ffff:8.8.8.8", "100.64.0.1"),
        *("svc.cluster.evil.com", "xlocal", "evil.internals", "evil.com#.internal", "evil.com/.internal"),
        *("evil.com\\.internal", "evil.com:80.internal", "evil.com?.local", "a@b.internal", "evil com.local"),
        *(
            "127.0.0.1.evil.com",
            "127.0.0.1.nip.io",
            "1.2.3",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
        ),
        *(
            "10.0.0.1\n",
            "10.0.0.1%eth0",
            "2001:db8::1%eth0",
            "[redis]",
            "[10.0.0.1",
            "redis\x00",
            "ｅｖｉｌ．ｃｏｍ",  # noqa: RUF001 - what strangers write
        ),
        *("-redis", "a..internal", ".internal", "a" * 64, "１２７．０．０．１", "evil。com", "8.8.8.8."),  # noqa: RUF001 - what strangers write
    ],
)
def test_strangers(host: str | None) -> None:
    """Everybody else, and whatever is not well formed."""
    if host == "xlocal":  # a single label after all
        assert DEFAULT.allows(host)
    else:
        assert not DEFAULT.allows(host)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.ip_addresses())
@example(IPv4Address("10.255.255.255"))
@example(IPv6Address("::ffff:192.168.0.1"))
def test_addresses(address: IPv4Address | IPv6Address) -> None:
    """An address is near exactly when one of the networks holds it; as text in every form."""
    meant = address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
    near = any(meant.version == net.version and meant in net for net in NEAR)
    forms = [str(address), f"[{address}]"] if address.version == 6 else [str(address)]
    if isinstance(address, IPv6Address):
        forms += [address.exploded, str(address).upper()]
    for form in forms:
        assert DEFAULT.allows(form) is near


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LABEL, min_size=1, max_size=4), TOP, st.booleans(), st.booleans())
def test_public_names_are_strangers_unless_listed(
    labels: list[str], top: str, dot: bool, upper: bool
) -> None:
    """A list makes exactly these friends: the host itself, or what is under a domain."""
    name = ".".join([*labels, top])
    asked = (name.upper() if upper else name) + "." * dot
    assert not DEFAULT.allows(asked)
    assert Destinations([name]).allows(asked)
    assert not Destinations([name]).allows(f"x.{asked}")
    assert not Destinations([f".{name}"]).allows(asked)
    assert Destinations([f".{name}"]).allows(f"x.{asked}")
    assert Destinations([f"*.{name}"]).allows(f"x.y.{asked}")
    assert not Destinations([f".{name}"]).allows(f"x{asked}")
    assert Destinations(["*"]).allows(asked)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=12), st.sampled_from(["internal", "localhost", "10.0.0.1", "[::1]", "redis"]))
@example("\\", "internal")
@example("a@", "localhost")
@example("evil.com:80#@", "10.0.0.1")
@example("evil.com/", "redis")
def test_a_url_is_judged_by_the_host_that_its_client_sees(junk: str, friend: str) -> None:
    """Whatever stands around a friend's name: only a host that is one is taken for one."""
    for url in (f"http://{junk}{friend}/", f"http://{friend}{junk}/", f"http://{friend}{junk}@evil.com/"):
        try:
            host = parse_url(url).host
        except ValueError:
            continue
        if host is not None and DEFAULT.allows(host):
            bare = host.strip("[]").rstrip(".").lower()
            try:
                assert any(ip_address(bare.partition("%")[0]) in net for net in NEAR)
            except ValueError:
                ascii_name = bare.encode("idna").decode() if not bare.isascii() else bare
                assert "." not in ascii_name or ascii_name.endswith(
                    (".internal", ".local", ".svc", ".localhost")
                )


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=30))
def test_nothing_raises(host: str) -> None:
    """Any text is a host to it, or none."""
    assert DEFAULT.allows(host) in {True, False}


@pytest.mark.parametrize(
    "entry", ["http://api.example.com", "api.example.com:443", "a/b", "", "1.2.3", "a b", "."]
)
def test_a_wrong_entry_is_told(entry: str) -> None:
    """The error says what may be written."""
    with pytest.raises(ValueError, match="write a name"):
        Destinations([entry])


def test_networks_and_short_forms() -> None:
    """A network is a friend; no list is the default; a text is no list."""
    assert Destinations(["203.0.113.0/24", "2001:db8::/32"]).allows("203.0.113.9")
    assert Destinations(["[2001:db8::1]"]).allows("2001:db8::1")
    assert not Destinations(["203.0.113.0/24"]).allows("203.0.114.9")
    assert destinations(()) is DEFAULT
    with pytest.raises(TypeError, match="list of hosts"):
        destinations("example.com")
