"""model.yaml as a frozen pydantic model.  START here: this is what a bundle promises."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from guards.contract.feature import there
from guards.explore.settings import ExploreSettings, NoExplore
from guards.outlier.guard import OutlierSettings
from guards.output.settings import OutputSettings
from guards.schema import SchemaSettings
from guards.settings import Settings
from models.choice import check_choice
from models.expectations import Expectations as Expectations
from models.feedback_spec import FeedbackSpec, LoopSpec
from models.runtime_spec import ArchitectureName as ArchitectureName
from models.runtime_spec import ConstantRow as ConstantRow
from models.runtime_spec import FileName, check_architecture
from models.runtime_spec import RuntimeSpec as RuntimeSpec
from models.signature import DTYPES as DTYPES
from models.signature import Signature as Signature
from models.signature import TensorSpec as TensorSpec
from models.slice_spec import SliceSpec, check_slices

# Names go unquoted into HAProxy's configuration and into URLs: nothing else may pass.
# (`$` ends the text, not a line: pydantic matches with the Rust engine.  And clients can read it.)
MODEL_NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
VERSION_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
ModelName = Annotated[str, StringConstraints(pattern=rf"^{MODEL_NAME}$")]
Version = Annotated[str, StringConstraints(pattern=rf"^{VERSION_NAME}$")]

RESERVED_NAMES = frozenset({"stats"})  # `/v2/models/stats` is the protocol's own


class VersionRung(Settings):
    """Answer with another registered version of this model, kept warm."""

    use: Literal["version"] = "version"
    version: Version


class ModelRung(Settings):
    """Answer with a smaller model of the same signature, from a file of this bundle."""

    use: Literal["model"] = "model"
    file: FileName
    kind: Literal["onnx", "torch", "safetensors"] = "onnx"
    architecture: ArchitectureName | None = None

    @model_validator(mode="after")
    def _has_what_it_runs(self) -> "ModelRung":
        check_architecture(self.kind, self.architecture)
        return self


class CacheRung(Settings):
    """Answer as this version last answered the same inputs."""

    use: Literal["cache"] = "cache"
    entries: int = Field(1024, ge=1, le=1_000_000, description="Answers kept per replica.")
    max_age_s: float = Field(300.0, gt=0, le=86_400, description="An older answer is none.")


class ConstantRung(Settings):
    """Answer with fixed outputs, one row each, repeated for every row asked."""

    use: Literal["constant"] = "constant"
    outputs: dict[str, ConstantRow]


Rung = Annotated[VersionRung | ModelRung | CacheRung | ConstantRung, Field(discriminator="use")]


class DriftSpec(Settings):
    """What the drift monitors promise; what traffic was lies in ``drift.npz``."""

    false_alarm_days: float = Field(
        365.0, gt=0, description="Mean time to a false alarm of one monitor, at least."
    )
    alpha: float = Field(
        0.05, gt=0, lt=1, description="Probability of ever finding drift where none is."
    )
    delta: float = Field(
        0.05, gt=0, lt=1, description="Probability that the reference misleads a monitor."
    )
    slack: float = Field(
        0.0, ge=0, lt=0.5, description="Drift of probabilities that nobody wants to know about."
    )
    time_ordered: bool = Field(
        default=False,
        description="The reference rows are in the order in which they came: then how much they "
        "depend on each other is estimated from them.",
    )
    entity: str | None = Field(
        default=None,
        description="Input that says whose row it is; each counts once per second at most.",
    )


class GuardsSpec(Settings):
    """Settings of every guard; their fitted state lies in ``guards.npz``."""

    schema_: SchemaSettings = Field(default=SchemaSettings(), alias="schema")
    outlier: OutlierSettings | None = None  # None: no fitted state, no guard
    output: OutputSettings = OutputSettings()
    drift: DriftSpec = DriftSpec()

    @property
    def to_confirm(self) -> tuple[str, ...]:
        """Guards that would stop rows by chance, and only may once their rate is confirmed."""
        settings = self.outlier
        if settings is None or settings.action not in ("fallback", "reject"):
            return ()
        return ("outlier",) if settings.dry_run == "until_confirmed" else ()


class Capture(Settings):
    """Which share of payloads is kept as evidence."""

    share: float = Field(0.1, ge=0, le=1)
    redact: tuple[str, ...] = ()  # input tensors that never leave the replica


class Provenance(Settings):
    """Where the model came from."""

    data: str | None = None
    code: str | None = None
    pipeline: str | None = None
    trained_at: datetime | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class Manifest(Settings):
    """Everything a model declares about itself."""

    name: ModelName
    version: Version
    runtime: RuntimeSpec
    signature: Signature
    expectations: Expectations = Expectations()
    fallback: tuple[Rung, ...] = ()
    guards: GuardsSpec = GuardsSpec()
    explore: ExploreSettings = NoExplore()
    feedback: FeedbackSpec = FeedbackSpec()
    loop: LoopSpec = LoopSpec()
    slices: tuple[SliceSpec, ...] = Field((), max_length=16)
    capture: Capture = Capture()
    provenance: Provenance = Provenance()

    @property
    def model_rungs(self) -> tuple[ModelRung, ...]:
        """The rungs that are models of this bundle."""
        return tuple(rung for rung in self.fallback if isinstance(rung, ModelRung))

    @property
    def cache_rung(self) -> CacheRung | None:
        """The rung that repeats old answers, if there is one."""
        return next((rung for rung in self.fallback if isinstance(rung, CacheRung)), None)

    @property
    def constant_rung(self) -> ConstantRung | None:
        """The rung that says the same of every row, if there is one."""
        return next((rung for rung in self.fallback if isinstance(rung, ConstantRung)), None)

    def of_rung(self, rung: ModelRung) -> "Manifest":
        """Promise the same with the model of ``rung`` instead; it has no ladder of its own."""
        runtime = RuntimeSpec(
            kind=rung.kind,
            file=rung.file,
            architecture=rung.architecture,
            device=self.runtime.device,
        )
        return self.model_copy(update={"runtime": runtime, "fallback": ()})

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if self.name in RESERVED_NAMES:
            raise ValueError(f"a model may not be called {self.name!r}")
        self._check_constants()
        self._check_graphs()
        self._check_rungs()
        self._check_features()
        self._check_answer()
        entity = self.guards.drift.entity
        if entity is not None and entity not in {spec.name for spec in self.signature.inputs}:
            raise ValueError(f"guards.drift.entity names no input: {entity!r}")
        unknown = set(self.capture.redact) - {spec.name for spec in self.signature.inputs}
        if unknown:  # a slip of the pen here would record what must not be
            raise ValueError(f"capture.redact names no input: {sorted(unknown)}")
        check_slices(self.slices, redacted=self.capture.redact)
        return self

    def _check_constants(self) -> None:
        widths = {spec.name: spec.row_width for spec in self.signature.outputs}
        constants = [rung.outputs for rung in self.fallback if isinstance(rung, ConstantRung)]
        if self.runtime.outputs is not None:
            constants.append(self.runtime.outputs)
        for outputs in constants:
            given = {name: len(row) for name, row in outputs.items()}
            if given != widths:
                raise ValueError(f"constant outputs must be {widths} wide, got {given}")
            for spec in self.signature.outputs:
                is_text = all(isinstance(value, str) for value in outputs[spec.name])
                if is_text != (spec.datatype == "BYTES"):
                    raise ValueError(
                        f"constant output {spec.name}: strings are for BYTES, and only they"
                    )

    def _check_graphs(self) -> None:
        signature = self.signature
        datatypes = {spec.datatype for spec in (*signature.inputs, *signature.outputs)}
        if self.runtime.cuda_graph_rows is not None and datatypes & {"BYTES", "BF16"}:
            raise ValueError("runtime.cuda_graph_rows: not with BYTES or BF16 in the signature")

    def _check_rungs(self) -> None:
        files = [self.runtime.file, *(rung.file for rung in self.model_rungs)]
        if len(set(files)) != len(files):
            raise ValueError("runtime and model rungs must each have a file of their own")
        if sum(isinstance(rung, CacheRung) for rung in self.fallback) > 1:
            raise ValueError("a ladder has at most one cache rung")

    def _check_answer(self) -> None:
        self._check_output_guard()
        if self.explore.kind != "none":
            check_choice(self.explore, self.signature)

    def _check_output_guard(self) -> None:
        settings, answer = self.guards.output, self.signature.answer
        numeric = {spec.name for spec in self.signature.outputs if spec.datatype != "BYTES"}
        if unknown := sorted(settings.ranges.keys() - numeric):
            raise ValueError(f"guards.output.ranges names no output of numbers: {unknown}")
        is_classes = answer.role in ("probabilities", "logits") and len(answer.row_shape) < 2
        if not is_classes and (settings.prediction_set is not None or settings.min_confidence):
            raise ValueError(
                "guards.output.prediction_set and min_confidence need probabilities or logits"
            )

    def _check_features(self) -> None:
        features = there(self.guards.schema_.features, "serving")
        described = sum(feature.count for feature in features if not feature.is_text)
        width = self.signature.feature_width
        if width == 0 and self.guards.outlier is not None:
            raise ValueError("guards.outlier needs an input of numbers, and all are BYTES")
        if features and described != width:
            raise ValueError(f"guards.schema describes {described} columns, inputs have {width}")
        texts = {spec.name: spec.row_width for spec in self.signature.text_inputs}
        for feature in features:
            if feature.is_text and texts.get(feature.name) != feature.count:
                raise ValueError(
                    f"guards.schema describes the text {feature.name}, {feature.count} wide, "
                    f"inputs of BYTES are {texts}"
                )
