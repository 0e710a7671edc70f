"""`handrail quality` and `handrail audit`: how right the live version is, and what to label."""

from typing import Annotated

import typer

from gateway.command import AsJson, Key, State, Url, open_client, tell

Name = Annotated[str, typer.Argument(help="Model.")]


def quality(
    name: Name, state: State = None, url: Url = None, key: Key = None, as_json: AsJson = False
) -> None:
    """Show measures of right and wrong by labels, slices, estimates without labels, and alerts."""
    from gateway.printing_quality import print_quality

    with open_client(url, key, state) as client:
        told = client.report(name)
        if as_json:
            wanted = ("model", "live", "expectations", "performance", "quality", "audit", "alerts")
            tell({part: told[part] for part in wanted}, as_json)
        else:
            print_quality(told)


def audit(
    name: Name,
    budget: Annotated[
        int | None, typer.Option(help="Labels to ask for; none: list what waits.", min=1)
    ] = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Choose which rows to label, unsure and strange ones more often, or list those that wait."""
    with open_client(url, key, state) as client:
        if budget is None:
            tell(client.waiting_audit(name), as_json)
            return
        told = client.choose_audit(name, budget)
        tell(told if as_json else told["chosen"], as_json)
