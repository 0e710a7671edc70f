"""What the commands share: their common options, a client, how they tell and how they fail."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

USAGE_ERROR = 2  # the command could not start: one sentence on stderr says why
REFUSED = 1  # the gateway answered, and the answer was no

State = Annotated[Path | None, typer.Option(help="State directory of the gateway.")]
Url = Annotated[str | None, typer.Option(help="Address of the gateway.")]
Key = Annotated[str | None, typer.Option(envvar="HANDRAIL_KEY", help="API key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def open_client(url: str | None, key: str | None, state: Path | None) -> Iterator[Any]:
    """Open a client; whatever goes wrong with it ends as one sentence."""
    from gateway.client import AnswerError, Client
    from gateway.running import address_of, key_of

    try:
        address = url or address_of(state)
        found = key or key_of(state)
    except (OSError, ValueError, KeyError) as error:
        fail(f"state directory {state} cannot be read: {error}", USAGE_ERROR)
    try:
        with Client(address, key=found) as client:
            yield client
    except AnswerError as error:
        fail(str(error), REFUSED if error.status else USAGE_ERROR)
    except (OSError, ValueError) as error:  # what was to be sent cannot be read
        fail(str(error), USAGE_ERROR)


def tell(told: Any, as_json: bool) -> None:
    """Print an answer: JSON, or a table where it is a list of like things."""
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        from gateway.printing import print_plain

        print_plain(told)


def fail(sentence: str, code: int) -> Any:
    """End the command with one sentence on stderr."""
    sys.stderr.write(sentence + "\n")
    raise typer.Exit(code)
