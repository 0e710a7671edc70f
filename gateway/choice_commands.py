"""The commands of models whose answer is a choice: ask its log, and switch exploration."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.command import AsJson, Key, State, Url, open_client, tell

Since = Annotated[float, typer.Option(help="Decisions since then, Unix time in s.")]
Until = Annotated[float | None, typer.Option(help="Decisions before then, Unix time in s.")]


def estimate(
    name: Annotated[str, typer.Argument(help="Model.")],
    target: Annotated[
        str, typer.Option(help="greedy, uniform, version:N, or a policy: softmax:tau=0.1.")
    ],
    since: Since = 0.0,
    until: Until = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Tell what another policy or version would have earned, from the log; or why not."""
    from gateway.printing import print_estimate

    with open_client(url, key, state) as client:
        told = client.estimate(name, target, since_s=since, until_s=until)
        if as_json:
            tell(told, as_json)
        else:
            print_estimate(told)


def export(
    name: Annotated[str, typer.Argument(help="Model.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    format_: Annotated[
        Literal["parquet", "dsjson"], typer.Option("--format", help="dsjson: for Vowpal Wabbit.")
    ] = "parquet",
    since: Since = 0.0,
    until: Until = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Write joined decisions with propensities and weights, to train the next model on."""
    with open_client(url, key, state) as client:
        content, read = client.export(name, format=format_, since_s=since, until_s=until)
        out.write_bytes(content)
        tell(read, as_json)


def explore(
    to: Annotated[Literal["on", "off", "status"], typer.Argument(help="The kill switch.")],
    name: Annotated[str | None, typer.Argument(help="Model; none: all of them.")] = None,
    why: Annotated[str, typer.Option(help="Reason, kept for good.")] = "",
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Turn exploration off or on, on every replica within a second, or tell how it stands."""
    with open_client(url, key, state) as client:
        on = None if to == "status" else to == "on"
        tell(client.explore(on=on, model=name, why=why), as_json)
