"""Broken HTTP over a plain socket: what no client library would send."""

import re
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fuzz.asgi import Sent
from tests.fuzz.faults import message

BODY = message()
PATH = b"/v2/models/pair/infer"
SILENCE_S = 1.5  # who says nothing for so long waits for more of the request

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


@dataclass(frozen=True)
class Heard:
    """All that came back on one connection, until the other side closed it or fell silent."""

    statuses: tuple[int, ...]
    took_s: float


def shout(url: str, raw: bytes) -> Heard:
    """Send bytes and listen; closing our side would end the request, says HAProxy."""
    target = urlsplit(url)
    began_s = time.monotonic()
    heard = b""
    with socket.create_connection((target.hostname, target.port), SILENCE_S) as connection:
        try:
            connection.sendall(raw)
            while part := connection.recv(1 << 16):
                heard += part
        except (ConnectionError, TimeoutError):
            pass  # hanging up on such a client is an answer too
    statuses = tuple(int(status) for status in _STATUS.findall(heard))
    return Heard(statuses, time.monotonic() - began_s)


def write(sent: Sent) -> bytes:
    """Write a generated request as HTTP/1.1, with the length of its body unless it names one."""
    names = {name.lower() for name, _ in sent.headers}
    headers = [(b"Host", b"localhost"), *sent.headers, (b"Connection", b"close")]
    if b"content-length" not in names:
        headers.append((b"Content-Length", b"%d" % len(sent.body)))
    path = sent.path.encode("utf-8", "surrogateescape")
    lines = [sent.method.encode() + b" " + path + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + sent.body


def post(*headers: bytes, body: bytes = BODY, host: bytes = b"localhost") -> bytes:
    """Write a request with exactly these header lines."""
    lines = [b"POST " + PATH + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks: bytes) -> bytes:
    """Write a request whose body comes in exactly these chunks."""
    return post(b"Transfer-Encoding: chunked", body=b"".join(chunks))


def chunk(body: bytes, size: bytes | None = None) -> bytes:
    """Write one chunk, of the size that it has or claims."""
    return (b"%x" % len(body) if size is None else size) + b"\r\n" + body + b"\r\n"


LENGTH = b"Content-Length: %d" % len(BODY)
GET_END = b"\r\nHost: localhost\r\nConnection: close\r\n\r\n"
GOOD = post(LENGTH)
END = b"0\r\n\r\n"
SMUGGLED = b"GET /v2/models/pair HTTP/1.1" + GET_END

RAW = {
    "nothing": b"",
    "noise": bytes(range(256)) * 8,
    "HTTP/0.9": b"GET /v2\r\n",
    "HTTP/1.0 without a host": b"GET /v2 HTTP/1.0\r\n\r\n",
    "HTTP/9.9": b"GET /v2 HTTP/9.9" + GET_END,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "no host": b"GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": post(LENGTH, b"Host: 127.0.0.1"),
    "a host with a path": post(LENGTH, host=b"localhost/v2/x?"),
    "a host of nonsense": post(LENGTH, host=b"[::1"),
    "a foreign host": post(LENGTH, host=b"evil.example"),
    "the absolute form": b"GET http://evil.example/v2 HTTP/1.1" + GET_END,
    "the authority form": b"CONNECT localhost:80 HTTP/1.1" + GET_END,
    "the asterisk form": b"OPTIONS * HTTP/1.1" + GET_END,
    "a long path": b"GET /" + b"a" * 100_000 + b" HTTP/1.1" + GET_END,
    "a long header": post(LENGTH, b"X: " + b"a" * 1_000_000),
    "10,000 headers": post(LENGTH, *[b"X: a"] * 10_000),
    "a header without a colon": post(LENGTH, b"nonsense"),
    "a header with a space": post(LENGTH, b"Content-Length : 5"),
    "a folded header": post(LENGTH, b"X: a", b" b"),
    "NUL in a header": post(LENGTH, b"X: a\x00b"),
    "bare line feeds": post(LENGTH).replace(b"\r\n", b"\n"),
    "length and chunks": post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=END + b"G"),
    "two lengths": post(LENGTH, b"Content-Length: 5"),
    "a negative length": post(b"Content-Length: -1"),
    "a signed length": post(b"Content-Length: +5"),
    "a length too long": post(b"Content-Length: 100000"),
    "a length too short": post(b"Content-Length: 5"),
    "a length of 2^64": post(b"Content-Length: 18446744073709551616"),
    "an unknown coding": post(b"Transfer-Encoding: xchunked"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=chunk(BODY) + END),
    "a chunk that is none": chunked(b"zz\r\n"),
    "a chunk of 2^64 bytes": chunked(chunk(BODY, b"ffffffffffffffff"), END),
    "a negative chunk": chunked(chunk(BODY, b"-5"), END),
    "a chunk too short": chunked(chunk(BODY, b"5"), END),
    "no last chunk": chunked(chunk(BODY)),
    "a long chunk extension": chunked(b"5;" + b"a" * 100_000 + b"\r\nhello\r\n", END),
    "trailers without end": chunked(chunk(BODY), b"0\r\n", b"X: a\r\n" * 10_000),
    "100,000 chunks": chunked(*[chunk(b" ")] * 100_000, END),
    "a hidden request": post(LENGTH, body=BODY + SMUGGLED),
    "pipelined requests": GOOD.replace(b"Connection: close\r\n", b"") * 20,
    "an upgrade": post(LENGTH, b"Connection: Upgrade", b"Upgrade: websocket"),
    "an expectation": post(LENGTH, b"Expect: 200-maybe"),
}  # fmt: skip
