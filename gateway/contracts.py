"""`handrail contract`: infer a feature contract, hold rows against it, compare two."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gateway.command import REFUSED, USAGE_ERROR, AsJson, fail, tell

contracts = typer.Typer(
    help="Infer, check and compare the feature contracts of models.", no_args_is_help=True
)

ManifestFile = Annotated[Path, typer.Argument(help="model.yaml, or a bundle.")]


@contracts.command()
def infer(
    manifest: ManifestFile,
    reference: Annotated[
        Path, typer.Option(help=".npz of training rows, by input name; `labels` are described too.")
    ],
    names: Annotated[
        str, typer.Option(help="Names of the columns of numbers, with commas between.")
    ] = "",
) -> None:
    """Print the contract that rows suggest, as YAML to be reviewed and put into model.yaml."""
    import yaml

    from gateway.packing import LABELS, read_arrays
    from models.bytes_tensor import to_elements
    from models.contract import infer_contract, infer_label

    signature = _manifest(manifest).signature
    with _in_a_sentence():
        arrays = {
            name: to_elements(array) if array.dtype.kind in "SU" else array
            for name, array in read_arrays(reference).items()
        }
        labels = arrays.pop(LABELS, None)
        features = infer_contract(arrays, signature, tuple(filter(None, names.split(","))))
        if labels is not None:
            features += (infer_label(LABELS, labels),)
    told = [feature.model_dump(mode="json", exclude_defaults=True) for feature in features]
    typer.echo(
        yaml.safe_dump({"features": told}, sort_keys=False, default_flow_style=None), nl=False
    )


@contracts.command()
def check(
    manifest: ManifestFile,
    rows: Annotated[Path, typer.Argument(help=".npz of rows, by input name.")],
    environment: Annotated[
        Literal["training", "serving"], typer.Option(help="Whose columns must be there.")
    ] = "serving",
    as_json: AsJson = False,
) -> None:
    """Count which rows break the contract, and why; exit 1 if any does."""
    from gateway.packing import read_arrays
    from models.contract import check_contract

    promised = _manifest(manifest)
    with _in_a_sentence():
        arrays = read_arrays(rows)
        broken, reasons = check_contract(promised, arrays, environment)
    told: dict[str, Any] = {
        "rows": len(next(iter(arrays.values()))),
        "broken": broken,
        "reasons": [
            {"feature": feature, "kind": kind, "times": times}
            for (feature, kind), times in reasons.most_common()
        ],
    }
    tell(told if as_json else {**told, "reasons": _listed(told["reasons"])}, as_json)
    if broken:
        raise typer.Exit(REFUSED)


@contracts.command()
def diff(old: ManifestFile, new: ManifestFile, as_json: AsJson = False) -> None:
    """Say what changed: same, compatible, widened or breaking; exit 1 if breaking."""
    from models.contract import compare_contracts

    found = compare_contracts(_manifest(old), _manifest(new))
    if as_json:
        tell({"verdict": found.verdict, "changes": list(found.sentences)}, as_json)
    else:
        typer.echo("\n".join((found.verdict, *found.sentences)))
    if found.verdict == "breaking":
        raise typer.Exit(REFUSED)


def _manifest(place: Path) -> Any:
    from models.bundle import MANIFEST_FILE
    from models.model_yaml import parse_manifest

    with _in_a_sentence():
        return parse_manifest((place / MANIFEST_FILE if place.is_dir() else place).read_bytes())


def _listed(reasons: list[dict[str, Any]]) -> str:
    return ", ".join(f"{why['feature']} {why['kind']} x{why['times']}" for why in reasons)


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """End the command with one where files or rows are not what they should be."""
    from models.errors import ModelError

    try:
        yield
    except KeyError as error:
        fail(f"no rows for the input {error}", USAGE_ERROR)
    except (ModelError, ValueError, OSError) as error:
        fail(str(error), USAGE_ERROR)
