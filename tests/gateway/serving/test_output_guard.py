"""What the output guard does to an answer, and what a client may ask about how sure it is."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from models.bundle import Bundle, load_reference
from models.examples import breast_cancer
from models.examples.example import Example
from models.manifest import ConstantRung, Manifest
from models.pack import pack
from models.signing import SigningKey

EXTRA = ["handrail.confidence", "handrail.abstain", "handrail.prediction_set"]


def repack(
    cancer: Example, out: Path, key: SigningKey, *, labelled: bool = True, **output: Any
) -> Bundle:
    """The example with other settings of its output guard, and no outlier guard."""
    bundle, (rows, labels) = cancer.bundles[0], breast_cancer.load_data()[0].held_out
    told = bundle.manifest.model_dump(by_alias=True)
    told["guards"] |= {"outlier": None, "output": output}
    return pack(
        Manifest.model_validate(told),
        bundle.path / "model.onnx",
        reference=load_reference(bundle).inputs,
        held_out={"measurements": rows},
        out=out,
        key=key,
        held_out_labels=labels if labelled else None,
    )


def body(rows: np.ndarray, outputs: list[str]) -> bytes:
    tensor = {
        "name": "measurements",
        "shape": list(rows.shape),
        "datatype": "FP32",
        "data": rows.reshape(-1).tolist(),
    }
    return orjson.dumps({"inputs": [tensor], "outputs": [{"name": name} for name in outputs]})


async def ask(served: Any, rows: np.ndarray, outputs: list[str]) -> tuple[Any, dict[str, Any]]:
    """Give the parameters of the answer, and its outputs as arrays."""
    response = await served.client.post("/infer", content=body(rows, outputs))
    assert response.status_code == 200, response.text
    told = response.json()
    arrays = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in told["outputs"]}
    return told["parameters"], arrays


async def test_an_answer_tells_how_sure_it_is_when_asked(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    bundle = repack(cancer, tmp_path / "sets", key, prediction_set={"coverage": 0.9})
    served = await serve(bundle)

    parameters, found = await ask(served, cancer.test_rows, ["probabilities", *EXTRA])

    likeliest = found["probabilities"].argmax(axis=1)
    held = found["handrail.prediction_set"]
    rows = np.arange(len(cancer.test_rows))
    assert parameters["prediction_set_coverage"] == 0.9
    assert held.dtype == bool
    assert held[rows, likeliest].all()
    # 142 test rows: the standard error of a share near 0.9 is .025, that of the calibration .035.
    assert held[rows, cancer.test_labels].mean() > 0.9 - 3 * 0.043
    assert ((found["handrail.confidence"] >= 0.5) & (found["handrail.confidence"] <= 1)).all()
    assert not found["handrail.abstain"].any()


async def test_a_model_that_is_not_sure_enough_abstains_row_by_row(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    served = await serve(repack(cancer, tmp_path / "unsure", key, min_confidence=0.8))

    parameters, found = await ask(served, cancer.test_rows, ["probabilities", *EXTRA[:2]])

    abstained = found["handrail.confidence"] < 0.8
    np.testing.assert_array_equal(found["handrail.abstain"], abstained)
    assert 0 < abstained.sum() < len(abstained)
    assert parameters["abstained_rows"] == abstained.sum()
    assert parameters["flagged_rows"] >= abstained.sum()
    right = found["probabilities"].argmax(axis=1) == cancer.test_labels
    assert right[~abstained].mean() > right[abstained].mean() + 0.1
    assert served.kept.decisions[-1].abstained == abstained.sum()


async def test_a_fallback_answers_for_every_class_and_claims_no_confidence(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    settings = {"min_confidence": 1.0, "low_confidence": "fallback", "prediction_set": {}}
    served = await serve(repack(cancer, tmp_path / "never", key, **settings))

    parameters, found = await ask(served, cancer.test_rows[:4], ["probabilities", *EXTRA])

    assert parameters["served_by"] == "fallback:constant"
    assert parameters["fallback_reason"] == "output"
    assert parameters["prediction_set_coverage"] == 1.0
    assert found["handrail.prediction_set"].all()
    assert found["handrail.prediction_set"].shape == (4, 2)
    assert found["handrail.abstain"].any()
    assert set(found["handrail.confidence"].tolist()) == {None}


async def test_an_abstention_with_nothing_to_fall_back_on_is_no_error_of_the_server(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    bundle = cancer.bundles[0]
    told = bundle.manifest.model_dump(by_alias=True)
    told["fallback"] = ()
    told["guards"]["output"] = {"min_confidence": 1.0, "low_confidence": "fallback"}
    strict = pack(
        Manifest.model_validate(told),
        bundle.path / "model.onnx",
        reference=load_reference(bundle).inputs,
        held_out={"measurements": load_reference(bundle).inputs["measurements"][:150]},
        out=tmp_path / "strict",
        key=key,
    )
    served = await serve(strict)

    response = await served.client.post("/infer", content=body(cancer.test_rows[:8], []))

    assert response.status_code == 422
    assert "confidence" in response.json()["error"]


async def test_sets_that_are_not_offered_are_refused_by_name(serve: Any, cancer: Example) -> None:
    served = await serve(*cancer.bundles)

    refused = await served.client.post("/infer", content=body(cancer.test_rows[:1], EXTRA))

    assert refused.status_code == 400
    assert refused.json()["code"] == "unknown_output"
    assert "handrail.prediction_set" in refused.json()["error"]


def test_sets_need_labels_when_the_bundle_is_packed(
    cancer: Example, key: SigningKey, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="needs the labels of the held-out rows"):
        repack(cancer, tmp_path / "none", key, labelled=False, prediction_set={})


@pytest.mark.parametrize(
    ("output", "kind"),
    [({"ranges": {"probabilities": {"low": 0.4, "high": 0.6}}}, "range"), ({}, "sum")],
)
def test_a_guard_that_would_stop_most_ordinary_answers_is_refused_when_packed(
    cancer: Example, key: SigningKey, tmp_path: Path, output: dict[str, Any], kind: str
) -> None:
    bundle = cancer.bundles[0]
    told = bundle.manifest.model_dump(by_alias=True)
    told["guards"] |= {"outlier": None, "output": output}
    if kind == "sum":  # two labels that may come together
        told["runtime"] = {"kind": "constant", "outputs": {"probabilities": [0.9, 0.8]}}
    rows = {"measurements": cancer.test_rows}

    with pytest.raises(ValueError, match=f"would stop .* ordinary answers: {kind}"):
        pack(
            Manifest.model_validate(told),
            None if kind == "sum" else bundle.path / "model.onnx",
            reference=rows,
            held_out=rows,
            out=tmp_path / "blind",
            key=key,
        )


async def test_an_answer_that_is_no_distribution_does_not_go_out(
    serve: Any, cancer: Example, key: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve(repack(cancer, tmp_path / "broken", key))
    runtime = served.versions.view.live.runtime
    good = runtime.predict

    def predict(self: Any, rows: Any, **options: Any) -> dict[str, Any]:
        return {name: 1.5 * array for name, array in good(rows, **options).items()}

    monkeypatch.setattr(type(runtime), "predict", predict)

    parameters, found = await ask(served, cancer.test_rows[:2], [])

    assert parameters["served_by"] == "fallback:constant"
    assert parameters["fallback_reason"] == "output"
    rung = served.versions.view.live.manifest.fallback[0]
    assert isinstance(rung, ConstantRung)
    assert found["probabilities"].tolist() == [list(rung.outputs["probabilities"])] * 2
