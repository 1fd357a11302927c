"""Whose request it is: the peer, or what trusted proxies say. Pure.

Rules
- ``X-Forwarded-For`` (or ``Forwarded``, where there is no other) is believed only when the peer is a trusted
  proxy, and read from its end: each address was added by the one behind it. The first that is no trusted
  proxy is the client; where all are, the first of the list is.
- What is no address (``unknown``, a hidden name, garbage) is not believed, nor what stands before it.
- Ports are left out; IPv4 in IPv6's clothes is IPv4.
- ``unix`` as a trusted proxy means a peer on a Unix socket, which has no address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

__all__ = ["Clients", "address_of"]

_MAX_HOPS: Final = 32
_FOR: Final = re.compile(r"""(?:^|[;\s])for=(?:"([^"]{0,128})"|([^;\s,"]{0,128}))""", re.IGNORECASE)


def address_of(text: str) -> str:
    """Return an address without port and brackets; `""` when it is none."""
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    return str(found if mapped is None else mapped)


class Clients:
    """Knows the trusted proxies: addresses, networks (``10.0.0.0/8``), ``unix``, or ``*`` for every peer.

    Raises ValueError for what is none of these.
    """

    __slots__ = ("_all", "_trusts", "_unix", "any")

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        named = [trusted] if isinstance(trusted, str) else list(trusted)
        self.any = bool(named)
        self._unix = "unix" in named
        self._all = "*" in named
        networks = [ip_network(name, strict=False) for name in named if name not in {"unix", "*"}]
        self._trusts = _trusting(networks)

    def __call__(self, peer: str, forwarded_for: str, forwarded: str) -> str:
        """Return the client's address: `peer` is who connected, the others are headers, each as one list."""
        address = address_of(peer)
        trusted = self._all or (self._trusts(address) if address else self._unix)
        if not trusted or not (forwarded_for or forwarded):
            return address or peer
        client = address or peer
        hops = forwarded_for.split(",") if forwarded_for else _hops(forwarded)
        for hop in reversed(hops[-_MAX_HOPS:]):
            found = address_of(hop)
            if not found:
                break
            client = found
            if not self._trusts(found):  # `*` trusts the peer; who stands in a list is nobody's peer
                break
        return client


def _hops(forwarded: str) -> list[str]:
    found = (_FOR.search(element) for element in forwarded.split(","))
    return ["" if match is None else match[1] or match[2] or "" for match in found]


def _trusting(networks: list[IPv4Network | IPv6Network]) -> Callable[[str], bool]:
    @lru_cache(1_024)
    def trusts(address: str) -> bool:
        found = ip_address(address)
        return any(found in network for network in networks)

    return trusts
