"""URLs and headers that no callback may have, each class of section 3, for every place that takes them."""

from __future__ import annotations

from typing import Any

URLS = {
    "http": "http://hooks.example/",
    "ftp": "ftp://hooks.example/",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://hooks.example/_x",
    "no scheme": "hooks.example/x",
    "no scheme, two slashes": "//hooks.example/x",
    "nothing": "",
    "no host": "https:///x",
    "a user": "https://user@hooks.example/",
    "a user and password": "https://user:pa55word@hooks.example/",
    "an empty user": "https://@hooks.example/",
    "a user that looks like the host": "https://hooks.example:443@127.0.0.1/",
    "a backslash": "https://hooks.example\\@127.0.0.1/",
    "a line break": "https://hooks.example/\r\nHost: other",
    "port 0": "https://hooks.example:0/",
    "port 65536": "https://hooks.example:65536/",
    "too long": "https://hooks.example/" + "x" * 8_192,
    "loopback": "https://127.0.0.1/",
    "loopback, another": "https://127.255.255.254/",
    "loopback, short": "https://127.1/",
    "loopback, a number": "https://2130706433/",
    "loopback, hexadecimal": "https://0x7f000001/",
    "loopback, octal": "https://0177.0.0.1/",
    "loopback, mixed": "https://0x7f.1/",
    "loopback, a dot behind": "https://127.0.0.1./",
    "loopback, wide digits": "https://１２７.0.0.1/",
    "loopback, circled digits": "https://①②⑦.⓪.⓪.①/",
    "loopback, with a port": "https://127.0.0.1:8443/x",
    "loopback, IPv6": "https://[::1]/",
    "loopback, IPv6 in full": "https://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "loopback, mapped": "https://[::ffff:127.0.0.1]/",
    "loopback, mapped in hexadecimal": "https://[::ffff:7f00:1]/",
    "loopback, compatible": "https://[::127.0.0.1]/",
    "loopback, NAT64": "https://[64:ff9b::7f00:1]/",
    "loopback, 6to4": "https://[2002:7f00:1::]/",
    "loopback, ISATAP": "https://[2a00:1450::5efe:7f00:1]/",
    "Teredo": "https://[2001:0:53aa:64c:0:0:0:0]/",
    "public, mapped": "https://[::ffff:93.184.216.34]/",
    "private, 10": "https://10.0.0.1/",
    "private, 172.16": "https://172.16.0.1/",
    "private, 192.168": "https://192.168.1.1/",
    "unique local": "https://[fd00::1]/",
    "link-local": "https://169.254.1.1/",
    "link-local, IPv6": "https://[fe80::1]/",
    "metadata": "https://169.254.169.254/latest/meta-data/",
    "metadata, a number": "https://2852039166/",
    "metadata, Amazon's IPv6": "https://[fd00:ec2::254]/",
    "metadata, Alibaba's": "https://100.100.100.200/",
    "metadata, Azure's": "https://168.63.129.16/",
    "carrier-grade NAT": "https://100.64.0.1/",
    "multicast": "https://224.0.0.1/",
    "multicast, IPv6": "https://[ff02::1]/",
    "reserved": "https://240.0.0.1/",
    "broadcast": "https://255.255.255.255/",
    "unspecified": "https://0.0.0.0/",
    "unspecified, short": "https://0/",
    "unspecified, IPv6": "https://[::]/",
    "documentation": "https://192.0.2.1/",
    "an address with a zone": "https://[fe80::1%25eth0]/",
    "no address": "https://1.2.3.4.5/",
}

HEADERS: list[tuple[str, Any]] = [
    *[
        (name, "v")
        for name in (
            "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization",
            "Proxy-Authenticate", "Proxy-Connection", "proxy-anything", "Host", "hOsT", "Expect", "Content-Type",
            "content-length", "CONTENT-ENCODING", "Content-Anything", "content_length", "webhook-id",
            "Webhook-Timestamp", "WEBHOOK-SIGNATURE", "webhook-anything", "webhook_signature",
        )
    ],
    *[(name, "v") for name in ("", " ", "a b", "a:b", "a\r\nb", "X-A\r\nHost", "(a)", "é", "x" * 99 + " ")],
    *[("X-Value", value) for value in ("a\r\nX-B: c", "a\nb", "a\rb", "\x01", "\x7f", "日本")],
    *[("X-Value", value) for value in (1, 1.5, True, None, ["a"], {"a": "b"})],
]  # fmt: skip
"""A name and a value each, of which one may not be."""
