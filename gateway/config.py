"""Settings of the gateway: frozen, units in names, from a file and the environment.

Precedence: command line, then ``HANDRAIL__SECTION__FIELD``, then the YAML file of
``--config``, then these defaults.
"""

import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from guards.settings import Settings

MIB = 1024 * 1024


class ServerSettings(Settings):
    """The HTTP surface."""

    host: str = Field("127.0.0.1", description="Address of the data plane; loopback only for now.")
    port: int = Field(8000, ge=1, le=65535, description="Port of the data plane and the API.")
    grpc_port: int = Field(
        8001, ge=0, le=65535, description="Port of the inference protocol over gRPC; 0: none."
    )
    max_body_bytes: int = Field(64 * MIB, ge=1024, description="Larger bodies get 413.")
    max_json_bytes: int = Field(
        8 * MIB,
        ge=1024,
        description="Larger JSON gets 413, as do typed contents over gRPC; raw tensors do not "
        "count.",
    )
    max_bundle_bytes: int = Field(2048 * MIB, ge=1024, description="Larger uploads get 413.")
    allowed_hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="Host headers that are answered."
    )
    open_inference: bool = Field(True, description="Inference and feedback need no key.")


class RaySettings(Settings):
    """The cluster underneath."""

    address: str | None = Field(None, description="An existing cluster; none: an embedded one.")
    proxy: Literal["haproxy", "serve"] = Field(
        "haproxy" if sys.platform == "linux" else "serve",
        description="HAProxy straight to the replicas, or Serve's own Python proxy.",
    )
    num_cpus: int = Field(8, ge=1, description="Scheduling slots of an embedded cluster.")
    object_store_bytes: int = Field(100 * MIB, ge=75 * MIB, description="Embedded object store.")


class ServingSettings(Settings):
    """Replicas and the request path."""

    replicas: int = Field(1, ge=1, le=64, description="Replicas per model.")
    replica_cpus: float = Field(0.1, gt=0, description="Scheduling share of one replica.")
    replica_gpus: float = Field(
        0.0, ge=0, description="Share of a GPU that Ray sets aside for one replica; 0: any it sees."
    )
    max_batch_rows: int = Field(256, ge=1, description="Rows in one micro-batch at most.")
    max_queued_rows: int = Field(8192, ge=1, description="Rows waiting in a replica at most.")
    max_in_flight_bytes: int = Field(
        256 * MIB, ge=1024, description="Bodies of all requests in a replica at most."
    )
    table_check_s: float = Field(
        2.0, gt=0, description="How often a replica asks for a routing table it may have missed."
    )
    inline_below_us: float = Field(
        300.0, ge=0, description="Models cheaper than this per batch run on the event loop."
    )


class RecordSettings(Settings):
    """Decision records and what the recorder makes of them."""

    commit_ms: float = Field(5.0, gt=0, le=1000, description="Group commit window of the journal.")
    segment_bytes: int = Field(
        64 * MIB, ge=MIB // 4, description="A segment is closed at this size."
    )
    segment_s: float = Field(30.0, gt=0, description="A segment is closed at this age.")
    traffic_s: float = Field(
        2.0, gt=0, description="How often a replica tells what it counted of its traffic."
    )
    poll_ms: float = Field(250.0, gt=0, description="How often the recorder looks for records.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port; 0 picks a free one.")
    trace_share: float = Field(
        0.05, ge=0, le=1, description="Share of ordinary requests that leave a trace."
    )
    keep_per_s: float = Field(
        50.0,
        ge=0,
        description="Traces kept per second for each special reason (error, fallback ...).",
    )
    keep_parent_per_s: float = Field(
        500.0, ge=0, description="Traces kept per second because the caller keeps its trace."
    )


class EvaluateSettings(Settings):
    """The shadow evaluator."""

    judge_ms: float = Field(500.0, gt=0, description="How often notified work is judged.")
    reconcile_s: float = Field(
        5.0, gt=0, description="How often evidence without a span is sought."
    )
    drift_s: float = Field(
        10.0, gt=0, description="How often drift is judged: a tick of its monitors."
    )
    loop_s: float = Field(
        30.0, gt=0, description="How often choices whose feedback is in are counted."
    )
    quality_s: float = Field(
        30.0, gt=0, description="How often expectations are looked at, and captured rows judged."
    )
    alpha: float = Field(0.05, gt=0, lt=1, description="Error of the confidence sequences.")


class StoreSettings(Settings):
    """Where state lives; by default all of it inside the state directory."""

    database_url: str | None = Field(None, description="SQLAlchemy URL of registry and labels.")
    artifacts_url: str | None = Field(None, description="fsspec URL of the artifact store.")
    evidence_url: str | None = Field(None, description="Delta table of decision records.")


class Config(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix="HANDRAIL__", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    state: Path = Field(description="The state directory.")
    server: ServerSettings = ServerSettings()
    ray: RaySettings = RaySettings()
    serving: ServingSettings = ServingSettings()
    record: RecordSettings = RecordSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    store: StoreSettings = StoreSettings()

    @property
    def database_url(self) -> str:
        """Where registry, labels and judgements are."""
        return self.store.database_url or f"sqlite:///{self.state}/handrail.db"

    @property
    def artifacts_url(self) -> str:
        """Where bundles are."""
        return self.store.artifacts_url or f"file://{self.state}/artifacts"

    @property
    def evidence_url(self) -> str:
        """Where the evidence table is."""
        return self.store.evidence_url or str(self.state / "evidence")

    @property
    def journal_dir(self) -> Path:
        """Where this node's replicas write their segments."""
        return self.state / "journal"

    @property
    def bundle_cache_dir(self) -> Path:
        """Where this node unpacks bundles from the artifact store."""
        return self.state / "cache"

    @property
    def keys_dir(self) -> Path:
        """The local signing key and the trusted public keys."""
        return self.state / "keys"


def load_config(state: Path, *, file: Path | None = None, **sections: Any) -> Config:
    """Merge the command line, the environment, the file and the defaults.

    Args:
        state: The state directory; made absolute.
        file: YAML with the same sections as `Config`.
        sections: Overrides from the command line, by section, e.g. ``server={"port": 8001}``.

    Raises:
        pydantic.ValidationError: a value is out of its range, or a field is unknown.
    """

    class FromFile(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            yaml_source = YamlConfigSettingsSource(settings_cls, yaml_file=file)
            return (init_settings, env_settings, yaml_source)

    merged = FromFile(state=state.absolute(), **sections)
    return Config.model_construct(**{name: getattr(merged, name) for name in Config.model_fields})
