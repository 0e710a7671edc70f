"""Words in, words out: a recurrent encoder and decoder with attention, decoded greedily.

Source: Luong, Pham and Manning (2015), "Effective Approaches to Attention-based Neural Machine
Translation", EMNLP, global attention with the dot score; the units are Cho et al.'s GRU (2014).
"""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.runtime.architectures.seq2seq_config import END, SPECIAL_TOKENS, Seq2seqConfig

Read = tuple[torch.Tensor, torch.Tensor]  # states (n, s, w), and which lie beyond the row's end


def batch_rows(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Fill rows of tokens up to the longest: tokens (n, s), and each row's own length (n,)."""
    longest = max(map(len, rows))
    filled = [[*row, *[END] * (longest - len(row))] for row in rows]
    return torch.tensor(filled), torch.tensor([len(row) for row in rows])


class Seq2seq(torch.nn.Module):
    """Maps rows of tokens to rows of tokens."""

    def __init__(self, config: Seq2seqConfig) -> None:
        super().__init__()
        wide = 2 * config.hidden
        sources, targets = len(config.source_words), len(config.target_words)
        self.source = torch.nn.Embedding(SPECIAL_TOKENS + sources, config.embedding)
        self.target = torch.nn.Embedding(SPECIAL_TOKENS + targets, config.embedding)
        self.encoder = torch.nn.GRU(
            config.embedding, config.hidden, batch_first=True, bidirectional=True
        )
        self.decoder = torch.nn.GRU(config.embedding, wide, batch_first=True)
        self.blend = torch.nn.Linear(2 * wide, wide)
        self.score = torch.nn.Linear(wide, SPECIAL_TOKENS + targets)

    def encode(self, tokens: torch.Tensor, lengths: torch.Tensor) -> tuple[Read, torch.Tensor]:
        """Read rows of tokens (n, s); return what was read, and the decoder's first state.

        Rows are packed: what stands after a row's end never enters its states.
        """
        packed = pack_padded_sequence(
            self.source(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        said, last = self.encoder(packed)
        said, _ = pad_packed_sequence(said, batch_first=True)
        beyond = (torch.arange(said.shape[1]) >= lengths[:, None]).to(said.device)
        return (said, beyond), torch.cat((last[0], last[1]), dim=1)[None]

    def decode(
        self, tokens: torch.Tensor, read: Read, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score the token after each of ``tokens``, (n, t): logits (n, t, v), and the new state."""
        said, beyond = read
        own, state = self.decoder(self.target(tokens), state)
        fit = torch.bmm(own, said.transpose(1, 2)).masked_fill(beyond[:, None], -torch.inf)
        context = torch.bmm(fit.softmax(dim=2), said)
        blended = torch.tanh(self.blend(torch.cat((own, context), dim=2)))
        logits: torch.Tensor = self.score(blended)
        return logits, state
