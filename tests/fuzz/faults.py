"""Every fault of a request that has a name of its own, by hand, and what it must be answered.

The model is `pair`.  ``CANARY`` stands where a client may put text: no answer may hold it.
"""

import gzip
import zlib
from dataclasses import dataclass, field

from tests.fuzz.asgi import Headers

BODY_MAX_BYTES = 1 << 21  # what the ingress under test must be told
LONG = "9" * 5000
CANARY = "canary-7d1f"
HEADER_LENGTH = b"inference-header-content-length"


@dataclass(frozen=True)
class Fault:
    """One broken request and the one right answer to it."""

    name: str
    code: str
    body: bytes
    status: int = 400
    headers: Headers = ()
    chunk_bytes: int = field(default=1 << 30, repr=False)


def tensor(**fields: str) -> str:
    """Write an object from JSON texts; an empty text leaves its field out."""
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items() if text) + "}"


def x(**fields: str) -> str:
    """Write the input of numbers, right but for ``fields``."""
    right = {"name": '"x"', "shape": "[1, 2]", "datatype": '"FP32"', "data": "[1, 2]"}
    return tensor(**right | fields)


def s(**fields: str) -> str:
    """Write the input of strings, right but for ``fields``."""
    right = {"name": '"s"', "shape": "[1, 1]", "datatype": '"BYTES"', "data": '["a"]'}
    return tensor(**right | fields)


def message(*inputs: str, rest: str = "") -> bytes:
    """Write a request; without ``inputs`` those are right."""
    return f'{{"inputs": [{", ".join(inputs or (x(), s()))}]{rest}}}'.encode()


def with_parameters(text: str) -> bytes:
    """Write a request that is right but for its parameters."""
    return message(rest=f', "parameters": {text}')


def with_outputs(*outputs: str) -> bytes:
    """Write a request that is right but for what it asks for."""
    return message(rest=f', "outputs": [{", ".join(outputs)}]')


def sized(size: str) -> str:
    """Write the parameters that announce a binary part."""
    return f'{{"binary_data_size": {size}}}'


def strange(text: str) -> bytes:
    """Write a request with a field that nobody knows."""
    return message(rest=f', "strange": {text}')


NUMBERS = bytes(8)  # the part of x
STRING = b"\x01\0\0\0a"  # the part of s


def binary(
    name: str,
    code: str,
    x_size: str = "8",
    s_size: str = "5",
    *,
    tail: bytes = NUMBERS + STRING,
    told: bytes | None = None,
    **x_fields: str,
) -> Fault:
    """Write a request with both parts binary, and one lie about them."""
    sizes = {"data": "", "parameters": sized(x_size)}
    head = message(x(**sizes | x_fields), s(data="", parameters=sized(s_size)))
    length = b"%d" % len(head) if told is None else told
    return Fault(name, code, head + tail, headers=((HEADER_LENGTH, length),))


def packed(
    name: str, code: str, body: bytes, encoding: bytes = b"gzip", status: int = 400
) -> Fault:
    """Write a request whose body is compressed, or says so."""
    return Fault(name, code, body, status, headers=((b"content-encoding", encoding),))


def bomb(size_bytes: int) -> bytes:
    """Compress zeros, a MiB at a time."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(size_bytes >> 20)]
    return b"".join((*parts, packer.flush()))


def flood(levels: int) -> str:
    """Nest lists."""
    return "[" * levels + "]" * levels


JSON_FAULTS = [
    Fault("nothing", "malformed_json", b""),
    Fault("no JSON", "malformed_json", b"inputs=x&s=" + CANARY.encode()),
    Fault("a form", "malformed_json", b"a=1"),
    Fault(
        "a form in parts", "unsupported_media_type", b"--x--", 415,
        headers=((b"content-type", b"multipart/form-data; boundary=x"),),
    ),
    Fault("no UTF-8", "malformed_json", b'{"id": "\xff"}'),
    Fault("no UTF-8 in a tensor", "malformed_json", message().replace(b'["a"]', b'["\xff"]')),
    Fault("cut off", "malformed_json", message()[:-1]),
    Fault("something after it", "malformed_json", message() + b"{}"),
    Fault("no object", "malformed_request", b"[]"),
    Fault("no inputs", "malformed_request", b'{"id": "a"}'),
    Fault("an empty list of inputs", "malformed_request", b'{"inputs": []}'),
    Fault("an id that is a number", "malformed_request", message(rest=', "id": 7')),
    Fault("a long id", "malformed_request", message(rest=f', "id": "{"i" * 4097}"')),
    Fault("parameters in a list", "malformed_request", with_parameters("[1]")),
    Fault("nested parameters", "malformed_request", with_parameters('{"a": {"b": 1}}')),
    Fault("NaN", "malformed_json", message(x(data="[NaN, 1]"), s())),
    Fault("Infinity", "malformed_json", message(x(data="[1, -Infinity]"), s())),
    Fault("NaN in the parameters", "malformed_json", with_parameters('{"a": NaN}')),
    Fault("1e999", "not_finite", message(x(data="[1e999, 1]"), s())),
    Fault("1e300 in FP32", "not_finite", message(x(data="[1e300, 1]"), s())),
    Fault("1e999 in the parameters", "malformed_request", with_parameters('{"a": 1e999}')),
    Fault("5,000 digits", "not_finite", message(x(data=f"[1, {LONG}]"), s())),
    Fault("5,000 digits of shape", "malformed_request", message(x(shape=f"[{LONG}]"), s())),
    Fault("5,000 digits of time", "malformed_request", with_parameters(f'{{"timeout": {LONG}}}')),
    Fault("a lone surrogate in a string", "malformed_json", message(x(), s(data='["\\ud800"]'))),
    Fault("a lone surrogate in the id", "malformed_json", message(rest=', "id": "\\udc00"')),
    Fault("a lone surrogate in a key", "malformed_json", with_parameters('{"\\ud800": 1}')),
    Fault("deep data", "too_deep", message(x(data=flood(100_000)), s())),
    Fault("deep data, not that deep", "wrong_data", message(x(data=flood(50)), s())),
    Fault("a deep body", "malformed_request", flood(100_000).encode()),
    Fault("a deep field that nobody knows", "too_deep", strange(flood(65))),
    Fault("an endless field that nobody knows", "too_deep", strange(flood(100_000))),
    Fault("a long field that nobody knows", "malformed_request", strange(f'"{"a" * (1 << 20)}"')),
    Fault("a key twice", "duplicate_key", message(rest=', "id": "a", "id": "b"')),
    Fault("inputs twice", "duplicate_key", message(rest=f', "inputs": [{x()}, {s()}]')),
    Fault("a shape twice", "duplicate_key", message(x()[:-1] + ', "shape": [1, 2]}', s())),
    Fault("data twice", "duplicate_key", message(x()[:-1] + ', "data": [3, 4]}', s())),
    Fault("a parameter twice", "duplicate_key", with_parameters('{"a": 1, "a": 2}')),
    Fault("an escaped twin", "duplicate_key", with_parameters('{"a": 1, "\\u0061": 2}')),
    Fault("twins where nobody looks", "duplicate_key", strange('{"a": {"b": 1, "b": 2}}')),
    Fault("twins in the data", "wrong_data", message(x(data='[{"a": 1, "a": 2}]'), s())),
]  # fmt: skip

TENSOR_FAULTS = [
    Fault("an input less", "missing_input", message(x())),
    Fault("an input more", "unknown_input", message(x(), s(), x(name=f'"{CANARY}"'))),
    Fault("an input of another name", "missing_input", message(x(name=f'"{CANARY}"'), s())),
    Fault("an input twice", "duplicate_name", message(x(), s(), x())),
    Fault("65 inputs", "malformed_request", message(*[x()] * 65)),
    Fault("another datatype", "wrong_datatype", message(x(datatype='"FP64"'), s())),
    Fault("an unknown datatype", "wrong_datatype", message(x(datatype='"CANARY"'), s())),
    Fault("a datatype in lower case", "wrong_datatype", message(x(datatype='"fp32"'), s())),
    Fault("a long datatype", "malformed_request", message(x(datatype=f'"{CANARY * 9}"'), s())),
    Fault("no shape", "malformed_request", message(x(shape=""), s())),
    Fault("an empty shape", "malformed_request", message(x(shape="[]"), s())),
    Fault("a shape of booleans", "malformed_request", message(x(shape="[true, 2]"), s())),
    Fault("a shape of fractions", "malformed_request", message(x(shape="[1.5, 2]"), s())),
    Fault("a negative dimension", "malformed_request", message(x(shape="[-1, 2]"), s())),
    Fault("two negative dimensions", "malformed_request", message(x(shape="[-1, -2]"), s())),
    Fault("2^32 x 2^32", "malformed_request", message(x(shape=f"[{2**32}, {2**32}]"), s())),
    Fault("2^4 x (2^60 + 2)", "malformed_request", message(x(shape=f"[16, {2**60 + 2}]"), s())),
    Fault("0 x 2^62", "malformed_request", message(x(shape=f"[0, {2**62}]"), s())),
    Fault("2^31 - 1 rows", "wrong_size", message(x(shape=f"[{2**31 - 1}, 2]"), s())),
    Fault("no rows", "wrong_shape", message(x(shape="[0, 2]", data="[]"), s())),
    Fault("rank 17", "malformed_request", message(x(shape=str([1] * 17)), s())),
    Fault("another rank", "wrong_shape", message(x(shape="[2]"), s())),
    Fault("another row shape", "wrong_shape", message(x(shape="[1, 3]", data="[1, 2, 3]"), s())),
    Fault("unlike rows", "wrong_shape", message(x(), s(shape="[2, 1]", data='["a", "b"]'))),
    Fault("too few numbers", "wrong_size", message(x(data="[1]"), s())),
    Fault("too many numbers", "wrong_size", message(x(data="[1, 2, 3]"), s())),
    Fault("too many strings", "wrong_size", message(x(), s(data='["a", "b"]'))),
    Fault("nested unlike the shape", "wrong_size", message(x(data="[[1], [2]]"), s())),
    Fault("nested at the end", "wrong_data", message(x(data="[1, [2]]"), s())),
    Fault("ragged", "wrong_data", message(x(data="[[1], [2, 3]]"), s())),
    Fault("data that is no list", "wrong_data", message(x(data='{"a": 1}'), s())),
    Fault("null for data", "wrong_data", message(x(data="null"), s())),
    Fault("a string for a number", "wrong_data", message(x(data=f'[1, "{CANARY}"]'), s())),
    Fault("a boolean for a number", "wrong_data", message(x(data="[1, true]"), s())),
    Fault("null for a number", "wrong_data", message(x(data="[1, null]"), s())),
    Fault("a number for a string", "wrong_data", message(x(), s(data="[1]"))),
    Fault("an unknown output", "unknown_output", with_outputs(f'{{"name": "{CANARY}"}}')),
    Fault("an output twice", "duplicate_name", with_outputs('{"name": "y"}', '{"name": "y"}')),
    Fault("10,000 outputs", "malformed_request", with_outputs(*['{"name": "y"}'] * 10_000)),
]  # fmt: skip

BINARY_FAULTS = [
    binary("a header length that is no number", "bad_header_length", told=b"canary-7d1f"),
    binary("an empty header length", "bad_header_length", told=b""),
    binary("a negative header length", "bad_header_length", told=b"-1"),
    binary("a signed header length", "bad_header_length", told=b"+10"),
    binary("a fraction of a header length", "bad_header_length", told=b"10.0"),
    binary("a header length past the body", "bad_header_length", told=b"9999"),
    binary("10^11 bytes of header", "bad_header_length", told=b"99999999999"),
    binary("5,000 digits of header length", "bad_header_length", told=b"9" * 5000),
    binary("a short header length", "malformed_json", told=b"20"),
    binary("a header length of 0 with two inputs", "missing_input", told=b"0"),
    binary("a part too short", "wrong_size", "4"),
    binary("a part too long", "wrong_size", "12"),
    binary("parts cut at the wrong place", "wrong_size", "7", "6"),
    binary("a size of 2^62", "wrong_size", str(2**62)),
    binary("a negative size", "bad_parameter", "-8"),
    binary("a size in quotes", "bad_parameter", f'"{CANARY}"'),
    binary("a boolean for a size", "bad_parameter", "true"),
    binary("a fraction of a size", "bad_parameter", "8.0"),
    binary("a body cut off", "wrong_size", tail=NUMBERS),
    binary("something after the parts", "wrong_size", tail=NUMBERS + STRING + b"!"),
    binary("both data and a part", "wrong_data", data="[1, 2]"),
    binary("a shape with more rows", "wrong_size", shape="[2, 2]"),
    binary("a string past the end", "wrong_size", tail=NUMBERS + b"\x02\0\0\0a"),
    binary("a string of 4 GiB", "wrong_size", tail=NUMBERS + b"\xff\xff\xff\xffa"),
    binary("a prefix cut off", "wrong_size", s_size="3", tail=NUMBERS + b"\0\0\0"),
    binary("a string too many", "wrong_size", s_size="9", tail=NUMBERS + STRING + bytes(4)),
    Fault("neither data nor a part", "wrong_data", message(x(data="", name=f'"{CANARY}"'), s())),
    Fault("a part of nothing", "wrong_size", message(x(data="", parameters=sized("8")), s())),
]  # fmt: skip

BODY_FAULTS = [
    packed("an unknown encoding", "bad_content_encoding", message(), CANARY.encode()),
    packed("two encodings", "bad_content_encoding", message(), b"gzip, gzip"),
    packed("gzip that is none", "bad_content_encoding", message()),
    packed("deflate that is none", "bad_content_encoding", gzip.compress(message()), b"deflate"),
    packed("gzip of nothing", "bad_content_encoding", b""),
    packed("gzip cut off", "bad_content_encoding", gzip.compress(message())[:-9]),
    packed("something after the gzip", "bad_content_encoding", gzip.compress(message()) + b"!"),
    packed("two streams", "bad_content_encoding", gzip.compress(message()) * 2),
    packed("gzip in gzip", "malformed_json", gzip.compress(gzip.compress(message()))),
    packed("a bomb", "too_large", bomb(64 << 20), status=413),
    packed("a bomb in a bomb", "malformed_json", gzip.compress(bomb(64 << 20))),
    packed("a deflate bomb", "too_large", zlib.compress(bytes(64 << 20), 9), b"deflate", 413),
    Fault("a body over the limit", "too_large", b" " * (BODY_MAX_BYTES + 1), 413),
    Fault(
        "a length over the limit", "too_large", b"", 413, headers=((b"content-length", b"2097153"),)
    ),
    Fault("a negative length", "bad_content_length", b"", headers=((b"content-length", b"-1"),)),
    Fault(
        "5,000 digits of length", "too_large", b"", 413, headers=((b"content-length", b"9" * 5000),)
    ),
    Fault("65,537 chunks", "too_many_chunks", b" " * 65_537, chunk_bytes=1),
]  # fmt: skip

PARAMETER_FAULTS = [
    Fault("a negative timeout", "bad_timeout", with_parameters('{"timeout": -1}')),
    Fault("a fraction of a timeout", "bad_timeout", with_parameters('{"timeout": 1.5}')),
    Fault("a timeout in words", "bad_timeout", with_parameters(f'{{"timeout": "{CANARY}"}}')),
    Fault("a boolean for a timeout", "bad_timeout", with_parameters('{"timeout": true}')),
    *(
        Fault(
            f"a timeout header of {value[:9]!r}", "bad_timeout", message(),
            headers=((b"x-request-timeout-ms", value),),
        )
        for value in (b"", b"0", b"-5", b"1.5", b"soon", b"1e3", b"\xb2", b"9" * 5000)
    ),
    Fault("a negative priority", "bad_parameter", with_parameters('{"priority": -1}')),
    Fault("a priority in words", "bad_parameter", with_parameters(f'{{"priority": "{CANARY}"}}')),
    Fault("a flag that is none", "bad_parameter", with_parameters('{"binary_data_output": 1}')),
    *(
        Fault(
            f"an output with {parameter}", "bad_parameter",
            with_outputs(f'{{"name": "y", "parameters": {{{parameter}}}}}'),
        )
        for parameter in (
            '"binary_data": "yes"', '"classification": 0', '"classification": -1',
            '"classification": "two"', '"classification": 1.0', '"classification": true',
        )
    ),
    Fault(
        "classes of strings", "bad_parameter",
        with_outputs('{"name": "t", "parameters": {"classification": 1}}'),
    ),
    binary("strings that are no text", "not_text", tail=NUMBERS + b"\x01\0\0\0\xff"),
    Fault("a sequence", "unsupported", with_parameters('{"sequence_id": 5}'), 501),
    Fault("a named sequence", "unsupported", with_parameters('{"sequence_id": "a"}'), 501),
    Fault("a sequence's start", "unsupported", with_parameters('{"sequence_start": true}'), 501),
    Fault(
        "an input in shared memory", "unsupported",
        message(x(data="", parameters='{"shared_memory_region": "a"}'), s()), 501,
    ),
    Fault(
        "an output in shared memory", "unsupported",
        with_outputs('{"name": "y", "parameters": {"shared_memory_region": "a"}}'), 501,
    ),
]  # fmt: skip

FAULTS = [*JSON_FAULTS, *TENSOR_FAULTS, *BINARY_FAULTS, *BODY_FAULTS, *PARAMETER_FAULTS]
