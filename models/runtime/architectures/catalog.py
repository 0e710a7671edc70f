"""Every registered architecture, by the name a manifest uses; written out, nothing is discovered.

Its config is imported at once, its network with the first model that needs it.
"""

from collections.abc import Callable, Mapping

from models.manifest import ArchitectureName, Manifest
from models.runtime.architectures.config import ArchitectureConfig
from models.runtime.architectures.seq2seq_config import Seq2seqConfig
from models.runtime.protocol import Runtime, Tensors


def _build_seq2seq(config: ArchitectureConfig, tensors: Tensors, manifest: Manifest) -> Runtime:
    from models.runtime.architectures.seq2seq_runtime import Seq2seqRuntime

    assert isinstance(config, Seq2seqConfig)
    return Seq2seqRuntime.build(config, tensors, manifest)


CONFIGS: Mapping[ArchitectureName, type[ArchitectureConfig]] = {"seq2seq": Seq2seqConfig}

BUILDERS: Mapping[ArchitectureName, Callable[[ArchitectureConfig, Tensors, Manifest], Runtime]] = {
    "seq2seq": _build_seq2seq
}
