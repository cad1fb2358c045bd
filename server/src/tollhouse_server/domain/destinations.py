"""Where notifications may go: to public hosts, over https. Everything else would let an app's URL reach our network.

The law: a URL has one reading. What two libraries could read differently (user names, backslashes, numbers that some
take for addresses) is refused, and an address counts as public only where nothing private can hide in it.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

LONGEST: Final = 2_000
PORTS: Final = frozenset({443, 8443})
"""Where https is spoken in public; a service inside listens anywhere."""

_URL: Final = re.compile(r"(https?)://([^/?#\\]+)([/?][^#\\]*)?", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INSIDE: Final = ("localhost", "local", "internal", "home.arpa", "lan", "intranet", "corp", "home")
"""Names that are never public: whatever they resolve to is somebody's own network."""

_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
# Teredo, ORCHID and the like; documentation; 6to4, which holds an IPv4 address; documentation again.
_NOT_PUBLIC_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64: Final = IPv6Network("64:ff9b::/96")


class NotADestination(ValueError):
    """Notifications cannot be sent there; the message says what to change, and nothing about our network."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A URL taken apart, once: what is connected to is exactly what was checked."""

    scheme: str
    host: str
    port: int
    target: str
    """The path and query, as they are asked for."""


def destination(url: str, *, allow_private: bool = False) -> Destination:
    """Reads a URL; a name is yet to be resolved, and each of its addresses to be checked. Raises NotADestination.

    `allow_private` is for development: plain http, any port and any host are then fine, too.
    """
    if len(url) > LONGEST:
        raise NotADestination(f"Write a URL of at most {LONGEST} characters.")
    if not all("!" <= character <= "~" for character in url):
        raise NotADestination("Write the URL in ASCII without spaces: a host in its xn-- form, a path percent-encoded.")
    match = _URL.fullmatch(url)
    if match is None:
        raise NotADestination("Write an absolute https URL without a fragment, as in https://app.example.com/hook.")
    scheme, authority, target = match[1].lower(), match[2], match[3] or "/"
    if "@" in authority:
        raise NotADestination("Leave user name and password out of the URL: messages are signed.")
    if scheme != "https" and not allow_private:
        raise NotADestination("Use https.")
    host, port = _authority(authority, 443 if scheme == "https" else 80)
    if not allow_private:
        _check(host, port)
    return Destination(scheme, host, port, target if target.startswith("/") else f"/{target}")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the public Internet, and no form of writing another."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return address in _GLOBAL_6 and not any(address in network for network in _NOT_PUBLIC_6)


def _authority(authority: str, usual_port: int) -> tuple[str, int]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise NotADestination("Write the host as a name or an address, and the port as a number.")
    port = int(match[3]) if match[3] else usual_port
    if not 0 < port < 65_536:
        raise NotADestination("A port is a number from 1 to 65535.")
    try:
        host = str(IPv6Address(match[1])) if match[1] else _name(match[2].lower())
    except ValueError:
        raise NotADestination("Write the host as a name or an address.") from None
    return host, port


def _name(host: str) -> str:
    """The host. Raises ValueError where it is neither a name nor an IPv4 address of four plain numbers."""
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(IPv4Address(host))  # not 127.1, 0x7f000001 or 2130706433, which some resolvers take for addresses
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(host)
    return host


def _check(host: str, port: int) -> None:
    if port not in PORTS:
        raise NotADestination(f"Use port {' or '.join(map(str, sorted(PORTS)))}.")
    address = literal(host)
    if address is not None:
        if not is_public(address):
            raise NotADestination("The host must be public.")
    elif "." not in host or any(host.endswith(f".{name}") for name in _INSIDE):
        raise NotADestination("The host must be public.")


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a destination's host is; None for a name."""
    for kind in (IPv4Address, IPv6Address):
        try:
            return kind(host)
        except ValueError:
            continue
    return None
