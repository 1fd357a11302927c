"""To whom trace ids are sent along: ids are not for strangers. Pure: names are never resolved.

Rules
- Allowed by default: loopback, private and link-local addresses, names of a single label (``redis``,
  ``localhost``), and names that end in ``.internal``, ``.local``, ``.svc`` or ``.localhost``.
- `propagate_to` names the rest: a host (``api.example.com``), all hosts under a domain (``.example.com`` or
  ``*.example.com``, the domain itself not among them), a network (``203.0.113.0/24``), or ``*`` for
  everybody.
- What decides is the host as the client itself has parsed it, never a text in which another parser may see
  another host: user names, ports and paths cannot pass for one.
- A host that is not well formed (other characters than letters, digits, ``-``, ``_`` and dots) is a stranger.
  So is a name that looks like a number (``2130706433``, ``0x7f.1``): some resolvers take it for an address.
- Names are compared in their ASCII form (IDNA), in lower case, without a trailing dot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

__all__ = ["DEFAULT", "Destinations", "PropagateTo", "destinations"]

_NAME: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*", re.ASCII)
# The last label decides whether resolvers read a name as an IPv4 address (as URLs do, WHATWG).
_NUMBER: Final = re.compile(r"(\d+|0x[0-9a-f]*)", re.ASCII)
_OURS: Final = (".internal", ".local", ".svc", ".localhost")
_REMEMBERED: Final = 1024

Address: TypeAlias = IPv4Address | IPv6Address


class Destinations:
    """Decides for hosts.

    `extra` as `propagate_to` in the rules above; ValueError says which entry is none.
    """

    __slots__ = ("_all", "_known", "_names", "_networks", "_suffixes")

    def __init__(self, extra: Iterable[str] = ()) -> None:
        if isinstance(extra, str):
            raise TypeError(f"propagate_to is a list of hosts: [{extra!r}]")
        self._all = False
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = _OURS
        self._networks: list[IPv4Network | IPv6Network] = []
        self._known: dict[str, bool] = {}
        for entry in extra:
            self._add(entry.strip())

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._all = True
            return
        text = entry.strip("[]")
        try:
            self._networks.append(ip_network(text, strict=False))
            return
        except ValueError:
            pass
        suffix = text.startswith((".", "*."))
        name = _ascii(text.removeprefix("*").removeprefix("."))
        if name is None or _is_number(name):
            raise ValueError(
                f"propagate_to: {entry!r} is no host: write a name (api.example.com), "
                "a domain (.example.com), a network (203.0.113.0/24) or *; without scheme, port and path"
            )
        if suffix:
            self._suffixes += (f".{name}",)
        else:
            self._names.add(name)

    def allows(self, host: str | None) -> bool:
        """Tell whether ids may go to `host`: a name or an address, IPv6 with or without brackets."""
        if not host:
            return False
        known = self._known.get(host)
        if known is None:
            known = self._decide(host)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[host] = known
        return known

    def _decide(self, host: str) -> bool:
        bracketed = host.startswith("[") and host.endswith("]")
        address = _address(host[1:-1] if bracketed else host)
        if address is not None:
            return self._all or _is_near(address) or any(address in net for net in self._networks)
        name = None if bracketed else _ascii(host)
        if name is None or _is_number(name):
            return False
        return self._all or "." not in name or name in self._names or name.endswith(self._suffixes)


DEFAULT: Final = Destinations()
PropagateTo: TypeAlias = Destinations | Iterable[str]


def destinations(propagate_to: PropagateTo) -> Destinations:
    """Make `Destinations` of what a user has given; an empty list means the default."""
    if isinstance(propagate_to, Destinations):
        return propagate_to
    made = propagate_to if isinstance(propagate_to, str) else tuple(propagate_to)
    return Destinations(made) if made else DEFAULT


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # an IPv6 zone says by which interface, not to whom
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if "%" in text and not address.is_link_local:
            return None
        return address.ipv4_mapped or address
    return None if "%" in text else address


def _is_near(address: Address) -> bool:
    """Private in the sense of one's own networks: not what is merely reserved (documentation, 6to4, ...)."""
    return any(address.version == net.version and address in net for net in _NEAR)


_NEAR: Final = tuple(
    ip_network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
)


def _ascii(host: str) -> str | None:
    name = host.removesuffix(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii").removesuffix(".").lower()
        except UnicodeError:
            return None
    return name if len(name) <= 253 and _NAME.fullmatch(name) else None


def _is_number(name: str) -> bool:
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None
