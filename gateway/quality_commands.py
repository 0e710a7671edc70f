"""`handrail quality`: how right the live version is, as far as anybody knows."""

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
            wanted = ("model", "live", "expectations", "performance", "quality", "alerts")
            tell({part: told[part] for part in wanted}, as_json)
        else:
            print_quality(told)
