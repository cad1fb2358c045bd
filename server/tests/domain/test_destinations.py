"""Where notifications may go: a table of what people have used to reach networks that are not theirs."""

from ipaddress import ip_address

import pytest

from tollhouse_server.domain.destinations import NotADestination, destination, is_public, literal

PUBLIC = {
    "https://app.example.com/hook": ("app.example.com", 443, "/hook"),
    "https://app.example.com": ("app.example.com", 443, "/"),
    "HTTPS://App.Example.COM/Hook?a=B": ("app.example.com", 443, "/Hook?a=B"),
    "https://app.example.com?token=1": ("app.example.com", 443, "/?token=1"),
    "https://app.example.com:8443/": ("app.example.com", 8443, "/"),
    "https://app.example.com:443/": ("app.example.com", 443, "/"),
    "https://xn--bcher-kva.example/": ("xn--bcher-kva.example", 443, "/"),
    "https://a_b.example.com/": ("a_b.example.com", 443, "/"),
    "https://93.184.215.14/": ("93.184.215.14", 443, "/"),
    "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/": ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", 443, "/"),
    "https://[2606:4700::6810:84e5]:8443/x": ("2606:4700::6810:84e5", 8443, "/x"),
    "https://localhost.example.com/": ("localhost.example.com", 443, "/"),
    "https://127.0.0.1.example.com/": ("127.0.0.1.example.com", 443, "/"),
}

REFUSED = """
http://app.example.com/
ftp://app.example.com/
file:///etc/passwd
gopher://127.0.0.1:6379/_FLUSHALL
//app.example.com/
app.example.com
https:app.example.com
https:/app.example.com
https:///app.example.com
https://
https://?x
https://app.example.com/#fragment
https://app.example.com\\@127.0.0.1/
https://app.example.com/\\..
https://user@app.example.com/
https://user:password@app.example.com/
https://app.example.com@127.0.0.1/
https://@app.example.com/
https://app.example.com:80/
https://app.example.com:22/
https://app.example.com:6379/
https://app.example.com:5432/
https://app.example.com:0/
https://app.example.com:65536/
https://app.example.com:99999999/
https://app.example.com:/
https://app.example.com:443x/
https://app.example.com./
https://.example.com/
https://app..example.com/
https://-app.example.com/
https://app%2eexample%2ecom/
https://localhost/
https://LOCALHOST/
https://app.localhost/
https://postgres/
https://printer.local/
https://metadata.google.internal/
https://router.lan/
https://nas.home.arpa/
https://127.0.0.1/
https://127.1/
https://127.0.1/
https://0/
https://2130706433/
https://0x7f000001/
https://0x7f.0.0.1/
https://0177.0.0.1/
https://017700000001/
https://127.0.0.1.nip.io.127.0.0.1/
https://00127.0.0.1/
https://10.0.0.5/
https://172.16.0.1/
https://172.31.255.255/
https://192.168.1.1/
https://169.254.169.254/latest/meta-data/
https://100.100.100.200/
https://0.0.0.0/
https://255.255.255.255/
https://[::1]/
https://[::]/
https://[0:0:0:0:0:0:0:1]/
https://[::ffff:127.0.0.1]/
https://[::ffff:7f00:1]/
https://[::ffff:169.254.169.254]/
https://[::127.0.0.1]/
https://[64:ff9b::127.0.0.1]/
https://[64:ff9b::a9fe:a9fe]/
https://[64:ff9b:1::1]/
https://[2002:7f00:1::]/
https://[2002:c0a8:101::1]/
https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/
https://[fe80::1]/
https://[fe80::1%25eth0]/
https://[fec0::1]/
https://[fd00::1]/
https://[fd00:ec2::254]/
https://[ff02::1]/
https://[2001:db8::1]/
https://[::1/
https://::1/
https://[1.2.3.4]/
https://[v1.fe80::a]/
""".split()  # noqa: SIM905 - a list of lines is what it is


@pytest.mark.parametrize("url", PUBLIC)
def test_what_is_public_is_taken_apart(url: str) -> None:
    """Into exactly what will be connected to."""
    to = destination(url)
    assert (to.scheme, to.host, to.port, to.target) == ("https", *PUBLIC[url])


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_not_is_refused(url: str) -> None:
    """With a sentence, before any name is resolved."""
    with pytest.raises(NotADestination) as refused:
        destination(url)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/a b",
        "https://app.example.com/\r\nHost: evil",
        "https://app.example.com\t/",
        "https://app.example.com/\x00",
        "https://１２７.0.0.1/",
        "https://ⓛⓞⓒⓐⓛhost/",
        "https://bücher.example/",
        "https://app。example。com/",
        "https://app.example.com/" + "x" * 2_000,
        f"https://{'a' * 64}.example.com/",
        f"https://{'a.' * 130}com/",
        " https://app.example.com/",
        "https://app.example.com/\n",
    ],
    ids=ascii,
)
def test_what_libraries_read_differently_is_refused(url: str) -> None:
    """Spaces, control characters, digits and dots of other scripts, names and URLs that are too long."""
    with pytest.raises(NotADestination):
        destination(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://127.0.0.1:8900/hook", "127.0.0.1", 8900),
        ("http://app/hook", "app", 80),
        ("http://[::1]:80/", "::1", 80),
        ("https://printer.local:9/", "printer.local", 9),
    ],
)
def test_inside_any_host_and_port_will_do_where_it_is_allowed(url: str, host: str, port: int) -> None:
    """For development; what has two readings is refused all the same."""
    to = destination(url, allow_private=True)
    assert (to.host, to.port) == (host, port)
    for two_readings in ("http://user@127.0.0.1/", "http://127.1/", "file:///etc/passwd", "http://a b/"):
        with pytest.raises(NotADestination):
            destination(two_readings, allow_private=True)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "93.184.215.14", "172.15.255.255", "172.32.0.0", "100.63.255.255", "100.128.0.0"),
        *("169.253.255.255", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255"),
        *("2606:4700::1", "2a00:1450:4001::1", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2001:200::1"),
    ],
)
def test_public_addresses(address: str) -> None:
    """Also those beside what is private, and those that hold a public one."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.255.255.255", "169.254.0.0"),
        *("172.16.0.0", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.255.255", "198.18.0.0"),
        *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
        *("::", "::1", "::2", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8"),
        *("100::1", "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:808:808::1", "3fff::1", "4000::1"),
        *("5f00::1", "fc00::1", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff00::1", "ffff::1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Private, shared, loopback, link-local, multicast, reserved, and whatever may hide one of these."""
    assert not is_public(ip_address(address))


def test_a_name_is_no_address() -> None:
    """What decides whether a name server is asked."""
    assert literal("app.example.com") is None
    assert [str(literal(one)) for one in ("1.2.3.4", "2606:4700::1")] == ["1.2.3.4", "2606:4700::1"]
