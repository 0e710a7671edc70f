"""A feed that ranks a growing catalogue, learns from what it served, and explores.

`catalogue` is the world and the model; here it becomes a bundle.  The ONNX graph looks up the
log of the click rate by segment and item; the candidates are the rows of a request, and the
manifest says that the answer is a slate of them.  ``python bench/feed.py`` trains it again and
again on what the gateway served, with and without exploration.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from guards.contract.feature import Feature
from guards.explore.policies import PlackettLuce, SlateMixture, SlatePart, UniformBucket
from guards.explore.settings import SlateExplore
from guards.schema import SchemaSettings
from models.bundle import Bundle
from models.examples.catalogue import Catalogue, Floats, Size, first_model
from models.manifest import Capture, GuardsSpec, Manifest, Provenance, RuntimeSpec, Signature
from models.manifest import TensorSpec as Tensor
from models.pack import pack
from models.signing import SigningKey

NAME = "feed"
SIZE = Size(segments=4, first_items=60, new_items=2, rounds=30, requests=1_000)
OPSET = 20
IR_VERSION = 10  # the newest that onnxruntime 1.27 reads
REFERENCE_ROWS = 2_000
BUCKET_SHARE = 0.02
TAU = 0.13  # of log click rates: an item that is clicked 1.14 times as often has e times the weight

SIGNATURE = Signature(
    inputs=(
        Tensor(name="segment", datatype="INT64", shape=(-1,)),
        Tensor(name="item", datatype="INT64", shape=(-1,)),
    ),
    outputs=(Tensor(name="score", datatype="FP32", shape=(-1, 1), role="scores"),),
)

# Mostly by score, which finds what is good; now and then by nothing, which finds all the rest
# and shows what the model is worth where it did not choose.
EXPLORE = SlateExplore(
    ids="item",
    slots=SIZE.slots,
    policy=SlateMixture(
        parts=(
            SlatePart(share=1 - BUCKET_SHARE, policy=PlackettLuce(tau=TAU)),
            SlatePart(share=BUCKET_SHARE, policy=UniformBucket(share=1.0)),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class FeedExample:
    """The first version, trained on a log that popularity served, and the world it serves."""

    bundle: Bundle
    catalogue: Catalogue


def build_feed(out_dir: Path, key: SigningKey, *, seed: int = 0) -> FeedExample:
    """Train on the first log and pack the model to ``out_dir/feed``."""
    catalogue = Catalogue.of_seed(seed, SIZE)
    model = first_model(catalogue, np.random.default_rng([seed, 7]))
    bundle = pack_feed(model.scores(), "1", EXPLORE, out=out_dir / NAME, key=key)
    return FeedExample(bundle, catalogue)


def pack_feed(
    scores: Floats, version: str, explore: SlateExplore, *, out: Path, key: SigningKey
) -> Bundle:
    """Pack one version to ``out``.

    Args:
        scores: Shape (segments, items), larger is better; also of items that are not there yet,
            whose score is that of the unknown.
        version: Its name.
        explore: How the ranking is randomised.
        out: Where to write.
        key: Signs the bundle.
    """
    segments, items = scores.shape
    columns = (
        Feature(name="segment", low=0, high=segments - 1),
        Feature(name="item", low=0, high=items - 1),
    )
    manifest = Manifest(
        name=NAME,
        version=version,
        runtime=RuntimeSpec(kind="onnx", file="model.onnx"),
        signature=SIGNATURE,
        guards=GuardsSpec(schema=SchemaSettings(features=columns)),
        explore=explore,
        capture=Capture(share=0.0),
        provenance=Provenance(pipeline="models.examples.feed"),
    )
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        artifact = Path(scratch) / "model.onnx"
        artifact.write_bytes(lookup_onnx(scores))
        return pack(
            manifest,
            artifact,
            reference=_pairs(segments, items, random),
            held_out=_pairs(segments, items, random),
            out=out,
            key=key,
        )


def _pairs(segments: int, items: int, random: np.random.Generator) -> dict[str, NDArray[Any]]:
    return {
        "segment": random.integers(0, segments, REFERENCE_ROWS),
        "item": random.integers(0, items, REFERENCE_ROWS),
    }


def lookup_onnx(scores: Floats) -> bytes:
    """Write the table as a graph: (segment, item) in, its score out; numbers beyond are clipped."""
    segments, items = scores.shape
    constants: dict[str, NDArray[Any]] = {
        "table": scores.astype(np.float32),
        "zero": np.array(0, np.int64),
        "last_segment": np.array(segments - 1, np.int64),
        "last_item": np.array(items - 1, np.int64),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Clip", ["segment", "zero", "last_segment"], ["known_segment"]),
        helper.make_node("Clip", ["item", "zero", "last_item"], ["known_item"]),
        helper.make_node("Unsqueeze", ["known_segment", "one"], ["segment_column"]),
        helper.make_node("Unsqueeze", ["known_item", "one"], ["item_column"]),
        helper.make_node("Concat", ["segment_column", "item_column"], ["pair"], axis=1),
        helper.make_node("GatherND", ["table", "pair"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "one"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        NAME,
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows"])
            for name in ("segment", "item")
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content
