"""Paths that try to leave their place, as they stand on the request line.

Source: OWASP, "Path Traversal"; the encodings behind CVE-2023-1177, CVE-2023-6909, CVE-2024-1560
(decoded twice) and CVE-2021-41773; the names that Windows keeps for devices.
"""

from itertools import product
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp

DOTS = (
    "..", ".%2e", "%2e%2e", "%252e%252e", "%25252e%25252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae",
    "%u002e%u002e", "%ef%bc%8e%ef%bc%8e", "%e2%80%a5", "..%00", "..%01", "....", "..%20",
)  # fmt: skip
SLASHES = (
    "/", "%2f", "%252f", "%5c", "%255c", "%c0%af", "%c1%9c", "%e2%88%95", "%ef%bc%8f", "%00/", "//",
)  # fmt: skip
PLACES = ("etc%2fpasswd", "identity", "stats")
NAMES = (
    "CON", "nul", "COM1.txt", "%00", "identity%00", "identity%00.json", "identity%20", "identity.",
    "%20identity", "identity%0a", "identity%0d%0aX:%20y", "IDENTITY", "%c4%b1dentity",
    "%e2%80%aeytitnedi", "identity%e2%80%8b", "identity;a=b", "identity%3fa", "identity%23a",
    "~root", "$HOME", "%24%7bjndi%7d", "file:%2f%2f%2fetc", "c:%5cwindows", "a" * 64, "a" * 4000,
    "-", ".", "_", "%ff%fe", "*", "identity%2finfer", "%7e", "%27%20or%201%3d1",
)  # fmt: skip
CORPUS = (*("".join(parts) for parts in product(DOTS, SLASHES, PLACES)), *NAMES)


async def ask(app: ASGIApp, method: str, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """Ask an application as a server would that decodes ``path`` once, and changes nothing else."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path, errors="replace"),
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body
