"""What a request wants to have back: is it there, and in which order and form does it go out?"""

from typing import Any

from numpy.typing import NDArray

from gateway.errors import BadRequestError
from gateway.serving.classification import check_classes, top_classes
from gateway.serving.protocol import Envelope
from gateway.serving.questions import NOTHING_ASKED, Asked
from gateway.serving.verdicts import EXTRA_OUTPUTS, PREDICTION_SET, Verdicts
from gateway.serving.versions import LoadedVersion


def check_outputs(envelope: Envelope, version: LoadedVersion) -> None:
    """Refuse a wrong request for outputs before the model does any work for it.

    Raises:
        BadRequestError: it names an output that there is not, or asks for it in a wrong way.
    """
    specs = {spec.name: spec for spec in version.manifest.signature.outputs}
    for output in envelope.outputs:
        spec = specs.get(output.name)
        if spec is None and output.name not in EXTRA_OUTPUTS:
            problem = f"outputs: the model has {', '.join(sorted(specs))}"
            raise BadRequestError(problem, code="unknown_output")
        if output.name == PREDICTION_SET and not version.chain.offers_sets:
            problem = f"outputs: the model offers no {PREDICTION_SET}"
            raise BadRequestError(problem, code="unknown_output")
        envelope.wants_binary(output.name)
        has_numbers = spec is not None and spec.datatype != "BYTES"
        if envelope.classes_of(output.name) and not has_numbers:
            problem = "outputs: classification needs an output of the model that holds numbers"
            raise BadRequestError(problem, code="bad_parameter")


def asked_of_choice(envelope: Envelope, version: LoadedVersion, fingerprint: bytes) -> Asked:
    """Read what a request says of its choice.

    Args:
        envelope: The request.
        version: That is asked.
        fingerprint: Of the inputs: the same id with others is another request.

    Raises:
        BadRequestError: ``explore`` is no boolean.
    """
    if version.chooser is None:
        return NOTHING_ASKED
    unit = version.chooser.settings.unit
    named = None
    if unit is not None and unit.parameter is not None:
        given = envelope.parameters.get(unit.parameter)
        named = None if given is None else str(given)
    own = None if envelope.id is None else f"{envelope.id}|{fingerprint.hex()}"
    return Asked(own, named, not envelope.may_explore)


def check_counts(envelope: Envelope, version: LoadedVersion, rows: int) -> None:
    """Refuse to name more classes than one answer should hold.

    Raises:
        BadRequestError: it would.
    """
    for spec in version.manifest.signature.outputs:
        check_classes(spec, rows=rows, classes=envelope.classes_of(spec.name))


def pick_outputs(
    outputs: dict[str, NDArray[Any]], envelope: Envelope, verdicts: Verdicts
) -> dict[str, NDArray[Any]]:
    """Pick the requested outputs in the requested order; all of the model's if none are named."""
    if not envelope.outputs:
        return outputs | verdicts.default_outputs()
    picked = {}
    for asked in envelope.outputs:
        is_own = asked.name in outputs
        array = outputs[asked.name] if is_own else verdicts.output(asked.name)
        classes = envelope.classes_of(asked.name)
        picked[asked.name] = top_classes(array, classes) if classes else array
    return picked
