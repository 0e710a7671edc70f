"""What the manifest says about the runtime: what runs the artifact, where, and how."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from guards.settings import Settings

FileName = Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z")]
ConstantRow = list[float] | list[str]  # strings for BYTES, and only for them
ArchitectureName = Literal["seq2seq"]  # see `models.runtime.architectures.catalog`

# Where each option of a runtime makes sense.
OPTION_FOR = {
    "gpu_memory_bytes": "only onnx on a GPU has such a limit",
    "cuda_graph_rows": "only onnx on a GPU replays graphs",
    "autocast": "only a torch.export program can be cast; convert any other model itself",
    "compiled": "only torch has compiled packages",
}


class RuntimeSpec(Settings):
    """What runs the artifact."""

    kind: Literal["onnx", "torch", "safetensors", "constant"]
    file: FileName | None = None  # None for constant
    architecture: ArchitectureName | None = None  # of safetensors: what the weights are for
    device: Literal["auto", "cpu", "cuda"] = "auto"
    outputs: dict[str, ConstantRow] | None = None  # constant: one row per output
    gpu_memory_bytes: int | None = Field(
        None, ge=1 << 20, description="onnx: what it may take of the GPU's memory at most."
    )
    cuda_graph_rows: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="onnx on CUDA: up to so many rows are padded to a power of two and replayed.",
    )
    autocast: Literal["fp16", "bf16"] | None = Field(
        None, description="torch: compute in this precision where it is safe; BF16 on a CPU."
    )
    compiled: bool = Field(
        False, description="torch: the file is an AOTInductor package for this device."
    )

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> "RuntimeSpec":
        is_torch, is_gpu = self.kind == "torch", self.kind == "onnx" and self.device != "cpu"
        misplaced = {
            "gpu_memory_bytes": self.gpu_memory_bytes is not None and not is_gpu,
            "cuda_graph_rows": self.cuda_graph_rows is not None and not is_gpu,
            "autocast": self.autocast is not None and (not is_torch or self.compiled),
            "compiled": self.compiled and not is_torch,
        }
        for option, is_misplaced in misplaced.items():
            if is_misplaced:
                raise ValueError(f"runtime.{option}: {OPTION_FOR[option]}")
        return self

    @model_validator(mode="after")
    def _has_what_it_runs(self) -> "RuntimeSpec":
        if self.kind == "constant" and not self.outputs:
            raise ValueError("a constant runtime needs outputs")
        if self.kind != "constant" and self.file is None:
            raise ValueError(f"runtime {self.kind} needs a file")
        check_architecture(self.kind, self.architecture)
        return self


def check_architecture(kind: str, architecture: str | None) -> None:
    """Refuse weights that nothing runs, and an architecture that runs nothing."""
    if (kind == "safetensors") != (architecture is not None):
        raise ValueError("safetensors needs an architecture, and nothing else has one")
