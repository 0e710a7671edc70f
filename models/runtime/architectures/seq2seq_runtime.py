"""A `seq2seq` model as a runtime: text in, text out, one token of every row at a time."""

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.bytes_tensor import as_elements
from models.errors import OutOfTimeError
from models.manifest import Manifest
from models.runtime.architectures.seq2seq import Seq2seq, batch_rows
from models.runtime.architectures.seq2seq_config import END, Seq2seqConfig, Vocabulary
from models.runtime.device import torch_device, torch_error
from models.runtime.protocol import Tensors


class Seq2seqRuntime:
    """Answers each text with the words that the network finds likeliest, one after the other."""

    def __init__(self, network: Seq2seq, config: Seq2seqConfig, manifest: Manifest) -> None:
        self._network = network
        self._is_on_gpu = network.score.weight.is_cuda
        self._config = config
        self._model = manifest.name
        self._input = manifest.signature.inputs[0].name
        self._output = manifest.signature.outputs[0]
        self._source = Vocabulary(config.source_words)
        self._target = Vocabulary(config.target_words)

    @classmethod
    def build(cls, config: Seq2seqConfig, tensors: Tensors, manifest: Manifest) -> Self:
        """Make the network and give it its weights.

        Raises:
            RuntimeFailedError: the device asked for is not there.
        """
        device = torch_device(manifest)
        torch.set_num_threads(1)  # one core per model: replicas are what scales
        with torch.device("meta"):  # shapes only: no weights are drawn to be thrown away
            network = Seq2seq(config)
        weights = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
        network.load_state_dict(weights, assign=True)
        return cls(network.to(device).eval().requires_grad_(False), config, manifest)

    def predict(
        self, inputs: Tensors, *, deadline_ns: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Answer ``n`` texts; the deadline is looked at before every token.

        What is no known word, or no UTF-8, is a token like any other: every text has an answer.
        """
        texts = inputs[self._input].reshape(-1).tolist()
        most = self._config.max_source_tokens
        rows = [[*self._source.encode(text, most=most), END] for text in texts]
        try:
            with torch.inference_mode():
                tokens = self._translate(rows, deadline_ns)
        except RuntimeError as error:  # its text may quote the rows
            raise torch_error(self._model, error, is_on_gpu=self._is_on_gpu) from error
        answers = [self._target.decode(_until_end(row)) for row in tokens.tolist()]
        return {self._output.name: as_elements(answers, (len(rows), *self._output.row_shape))}

    def _translate(
        self, rows: Sequence[Sequence[int]], deadline_ns: int | None
    ) -> NDArray[np.int64]:
        """Choose the likeliest token of every row again and again, until all have ended."""
        network = self._network
        device = network.score.weight.device
        self._check_time(deadline_ns)
        tokens, lengths = batch_rows(rows)
        read, state = network.encode(tokens.to(device), lengths)
        last = torch.full((len(rows), 1), END, device=device)
        ended = torch.zeros_like(last, dtype=torch.bool)
        chosen = []
        for _ in range(self._config.max_target_tokens):
            self._check_time(deadline_ns)
            logits, state = network.decode(last, read, state)
            last = logits.argmax(dim=2)
            chosen.append(last)
            ended |= last == END
            if ended.all():
                break
        answer: NDArray[np.int64] = torch.cat(chosen, dim=1).cpu().numpy()
        return answer

    def _check_time(self, deadline_ns: int | None) -> None:
        if deadline_ns is not None and time.perf_counter_ns() >= deadline_ns:
            raise OutOfTimeError(self._model)


def _until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(END)] if END in tokens else tokens
