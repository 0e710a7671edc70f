"""The `handrail` command.  Everything heavy is imported inside the command that needs it."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.choice_commands import estimate, explore, export
from gateway.command import (
    REFUSED,
    USAGE_ERROR,
    AsJson,
    Key,
    State,
    Url,
    fail,
    open_client,
    tell,
)
from gateway.contracts import contracts
from gateway.quality_commands import audit, quality

app = typer.Typer(
    help="Serve predictive models with the guardrails built in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(contracts, name="contract")


@app.command()
def up(
    state: Annotated[Path, typer.Option(help="State directory; made if it does not exist.")],
    port: Annotated[int | None, typer.Option(help="Port of data plane and API; 8000.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port of gRPC; 8001; 0: none.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
) -> None:
    """Run the gateway in the foreground until SIGTERM or Ctrl-C."""
    from gateway.up import StartError, run

    try:
        run(state, port=port, grpc_port=grpc_port, config_file=config)
    except StartError as error:
        fail(str(error), USAGE_ERROR)


@app.command()
def pack(
    manifest: Annotated[Path, typer.Argument(help="model.yaml to start from.")],
    reference: Annotated[Path, typer.Option(help=".npz of training rows, by input name.")],
    held_out: Annotated[
        Path,
        typer.Option(
            help=".npz of rows nothing was fitted on; with `labels` also of the confidence."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory of the new bundle.")],
    artifact: Annotated[Path | None, typer.Option(help="The model file.")] = None,
    state: State = None,
    signing_key: Annotated[Path | None, typer.Option(help="Ed25519 key in PEM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit and calibrate the guards of a model and sign the result as a bundle."""
    from gateway.packing import pack_files
    from guards.errors import GuardError
    from models.errors import ModelError

    if (state is None) == (signing_key is None):
        fail("give either --state or --signing-key, to sign the bundle with", USAGE_ERROR)
    try:
        bundle = pack_files(
            manifest,
            artifact,
            reference=reference,
            held_out=held_out,
            out=out,
            signing_key=signing_key,
            state=state,
        )
    except (GuardError, ModelError, ValueError, OSError) as error:
        fail(str(error), REFUSED)
    told = {
        "bundle": str(out),
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
        "digest": bundle.digest,
    }
    tell(told, as_json)


@app.command()
def register(
    bundle: Annotated[Path, typer.Argument(help="Directory of the bundle.")],
    as_: Annotated[Literal["live", "shadow"], typer.Option("--as", help="Its first state.")],
    trust_code: Annotated[bool, typer.Option(help="Accept a bundle that holds code.")] = False,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send a bundle to the gateway."""
    from gateway.printing import print_registered

    with open_client(url, key, state) as client:
        told = client.register(bundle, as_=as_, trust_code=trust_code)
        if as_json:
            tell(told, as_json)
        else:
            print_registered(told)


@app.command()
def models(state: State = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List models, versions and their states."""
    with open_client(url, key, state) as client:
        tell(client.models(), as_json)


@app.command()
def status(state: State = None, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show every model's report: traffic, accuracy, agreement, expectations."""
    from gateway.printing import print_status

    with open_client(url, key, state) as client:
        told = client.status()
        if as_json:
            tell(told, as_json)
        else:
            print_status(told)


@app.command()
def drift(
    name: Annotated[str, typer.Argument(help="Model.")],
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show how the live version's traffic differs from its reference, since when, and in what."""
    from gateway.printing_drift import print_drift

    with open_client(url, key, state) as client:
        told = client.report(name)["drift"]
        if as_json:
            tell(told, as_json)
        else:
            print_drift(name, told)


@app.command()
def infer(
    name: Annotated[str, typer.Argument(help="Model.")],
    file: Annotated[Path, typer.Argument(help="Request in JSON, or .npz of inputs by name.")],
    version: Annotated[str | None, typer.Option(help="Ask this version.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="Deadline.")] = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model."""
    from gateway.packing import read_arrays

    try:
        inputs = read_arrays(file) if file.suffix == ".npz" else None
        body = file.read_bytes() if inputs is None else b""
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read: {error}", USAGE_ERROR)
    with open_client(url, key, state) as client:
        if inputs is None:
            at = f"/versions/{version}" if version is not None else ""
            headers = {} if timeout_ms is None else {"X-Request-Timeout-Ms": str(timeout_ms)}
            tell(client.post(f"/v2/models/{name}{at}/infer", body, headers=headers), as_json)
            return
        answer = client.infer(name, inputs, version=version, timeout_ms=timeout_ms)
        outputs = {output: array.tolist() for output, array in answer.outputs.items()}
        tell({"parameters": answer.parameters, "outputs": outputs}, as_json)


@app.command()
def feedback(
    name: Annotated[str, typer.Argument(help="Model.")],
    file: Annotated[Path, typer.Argument(help="JSON, or .ndjson of any length; - for stdin.")],
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Send labels, rewards or what was shown; they are on disk when this returns."""
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", USAGE_ERROR)
    with open_client(url, key, state) as client:
        if file.suffix == ".ndjson":
            tell(client.import_feedback(name, body), as_json)
            return
        headers = {"Content-Type": "application/json"}
        tell(client.post(f"/v2/models/{name}/feedback", body, headers=headers), as_json)


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[str | None, typer.Option(help="Version; else the shadow.")] = None,
    anyway: Annotated[bool, typer.Option(help="Although labels say that it is worse.")] = False,
    why: Annotated[str, typer.Option(help="Reason, kept in the audit.")] = "",
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a version live; the one before stays warm for `rollback`."""
    with open_client(url, key, state) as client:
        tell(client.promote(name, version=version, anyway=anyway, why=why), as_json)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="Model.")],
    why: Annotated[str, typer.Option(help="Reason, kept in the audit.")] = "",
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Return to the version that was live before."""
    with open_client(url, key, state) as client:
        tell(client.rollback(name, why=why), as_json)


@app.command()
def quarantine(
    name: Annotated[str, typer.Argument(help="Model.")],
    lift: Annotated[str | None, typer.Option(help="Fingerprint to let in again.")] = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List inputs that ended replicas twice and are refused; or let one in again."""
    with open_client(url, key, state) as client:
        told = client.quarantine(name) if lift is None else client.lift(name, lift)
        tell(told, as_json)


@app.command()
def guards(
    name: Annotated[str, typer.Argument(help="Model.")],
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show which share of live rows the guards find strange, and whether they may act."""
    with open_client(url, key, state) as client:
        tell(client.guards(name), as_json)


@app.command()
def confirm(
    name: Annotated[str, typer.Argument(help="Model.")],
    anyway: Annotated[bool, typer.Option(help="Although the figures do not settle it.")] = False,
    why: Annotated[str, typer.Option(help="Reason, kept in the audit.")] = "",
    state: State = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let the outlier guard of a new model stop rows: its false alarms on live traffic hold."""
    with open_client(url, key, state) as client:
        tell(client.confirm(name, anyway=anyway, why=why), as_json)


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(help="Leave bundles and state here.")] = None,
) -> None:
    """Run the main job on real data, from training to the evaluator's verdict."""
    from gateway.demo.run import run_demo

    raise typer.Exit(run_demo(keep))


for command in (quality, audit, estimate, export, explore):
    app.command()(command)


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    app()


if __name__ == "__main__":
    main()
