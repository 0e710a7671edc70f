"""Export a torch network to ONNX under the names of a signature."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

OPSET = 20


def export_onnx(
    network: torch.nn.Module,
    example: torch.Tensor,
    path: Path,
    *,
    input_name: str,
    output_names: Sequence[str],
) -> None:
    """Write ``network`` to ``path``; the first dimension of ``example``, at least 2, stays open."""
    with _quiet_exporter():
        torch.onnx.export(
            network,
            (example,),
            path,
            input_names=[input_name],
            output_names=list(output_names),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("rows")},),
            verbose=False,
        )


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what torch 2.13's exporter says in every export.

    It trips over its own deprecation, and misses torchvision, which nothing here needs.
    """
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registry.level
    registry.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, message=".*LeafSpec")
            yield
    finally:
        registry.setLevel(level)
