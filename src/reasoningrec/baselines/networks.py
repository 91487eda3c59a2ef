"""Four sequence models with one question: will this user like this item, given the reactions before it?

Each was published to rank the next item; here each gets a head that answers P(like of the target), and reads what the
user thought of the history's items beside the items themselves. Their sources and departures stand at each class.

B sequences, T places in time, M questions, L last places, D features. Ids: 0 is padding, 1 an item or user that was not
learned.
"""

# ruff: noqa: N803, N806, N815

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

UNKNOWN: Final = 1
LAST: Final = 20
"""L, how far back DIN looks."""
IMAGE: Final = 8
"""L of Caser."""


@dataclass(frozen=True)
class Sizes:
    """How large the tables and layers are."""

    items: int
    reactions: int
    users: int
    places: int
    """T at most."""
    hidden: int
    """D."""
    dropout: float


@dataclass(frozen=True)
class Batch:
    """Sequences, padded on the right, and questions on them: sequence `of` up to `place`, the first place unknown."""

    items_BT: Tensor
    reactions_BT: Tensor
    user_B: Tensor
    of_M: Tensor
    place_M: Tensor
    target_M: Tensor

    def last(self, count: int) -> tuple[Tensor, Tensor]:
        """(M, L) items and reactions of the last L places before each question, oldest first, 0 where there is none."""
        place_ML = self.place_M[:, None] + torch.arange(-count, 0)
        there_ML = place_ML >= 0
        of_ML, place_ML = self.of_M[:, None], place_ML.clamp_min(0)
        return self.items_BT[of_ML, place_ML] * there_ML, self.reactions_BT[of_ML, place_ML] * there_ML


class Reading(nn.Module):
    """A reaction as a vector: item x sign of the reaction + reaction. And the items alone, for targets.

    Signs are learned, feature by feature, from 1 for a like and -1 for a dislike: with a mere sum of both, a model has
    to find out in its layers that to dislike the one thing is much like liking its opposite.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.item = nn.Embedding(sizes.items, sizes.hidden, padding_idx=0)
        self.reaction = nn.Embedding(sizes.reactions, sizes.hidden, padding_idx=0)
        self.sign = nn.Embedding(sizes.reactions, sizes.hidden, padding_idx=0)
        nn.init.normal_(self.item.weight, std=0.05)
        nn.init.normal_(self.reaction.weight, std=0.2)
        with torch.no_grad():
            for code in range(sizes.reactions):
                self.sign.weight[code] = 1.0 if code % 2 == 0 else -1.0  # as `sequences.reaction_codes` numbers them
            for table in (self.item, self.reaction, self.sign):
                table.weight[0] = 0.0

    def forward(self, items: Tensor, reactions: Tensor) -> Tensor:
        """(..., D)."""
        return torch.as_tensor(self.item(items) * self.sign(reactions) + self.reaction(reactions))


class Head(nn.Module):
    """logit P(like) = state W target + state u + b_target."""

    def __init__(self, sizes: Sizes, state: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(sizes.dropout)
        self.meet = nn.Linear(state, sizes.hidden)
        self.alone = nn.Linear(state, 1)
        self.bias = nn.Embedding(sizes.items, 1)
        nn.init.zeros_(self.bias.weight)

    def forward(self, state_MS: Tensor, item_MD: Tensor, target_M: Tensor) -> Tensor:
        """(M,) log-odds."""
        state_MS = self.drop(state_MS)
        together_M = (self.meet(state_MS) * item_MD).sum(-1)
        return torch.as_tensor(together_M + self.alone(state_MS)[:, 0] + self.bias(target_M)[:, 0])


class Layer(nn.Module):
    """Causal self-attention and two pointwise maps, each normalised first and added to its input."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.before_attention, self.before_maps = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.to_qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.maps = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D); place t sees places up to t."""
        b, t, d = x_BTD.shape
        q, k, v = self.to_qkv(self.before_attention(x_BTD)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        x_BTD = x_BTD + self.drop(self.out(seen.transpose(1, 2).reshape(b, t, d)))
        return x_BTD + torch.as_tensor(self.drop(self.maps(self.before_maps(x_BTD))))


class SASRec(nn.Module):
    """Two layers of causal self-attention over the reactions so far.

    Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018. Departures: reactions are read beside items;
    a learned start stands for an empty past; the head (the paper: dot product with the item, against sampled
    negatives); GELU, and the maps are twice as wide as the states.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reading = Reading(sizes)
        self.start = nn.Parameter(torch.zeros(sizes.hidden))
        self.place = nn.Embedding(sizes.places + 1, sizes.hidden)
        nn.init.normal_(self.place.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(sizes.hidden, 2, sizes.dropout) for _ in range(2))
        self.norm, self.drop = nn.LayerNorm(sizes.hidden), nn.Dropout(sizes.dropout)
        self.head = Head(sizes, sizes.hidden)

    def forward(self, batch: Batch) -> Tensor:
        """(M,) log-odds."""
        x_BTD = _after(self.start, self.reading(batch.items_BT, batch.reactions_BT))
        x_BTD = self.drop(x_BTD + self.place(torch.arange(x_BTD.shape[1])))
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        state_MD = self.norm(x_BTD)[batch.of_M, batch.place_M]
        return torch.as_tensor(self.head(state_MD, self.reading.item(batch.target_M), batch.target_M))


class GRU4Rec(nn.Module):
    """A gated recurrent unit over the reactions so far.

    Hidasi, Karatzoglou, Baltrunas and Tikk, Session-based Recommendations with Recurrent Neural Networks, ICLR 2016.
    Departures: a user's whole past is one session; reactions are read beside items; the head and its log loss (the
    paper: BPR or TOP1 against sampled items).
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reading = Reading(sizes)
        self.start = nn.Parameter(torch.zeros(sizes.hidden))
        self.recurrent = nn.GRU(sizes.hidden, sizes.hidden, batch_first=True)
        self.drop = nn.Dropout(sizes.dropout)
        self.head = Head(sizes, sizes.hidden)

    def forward(self, batch: Batch) -> Tensor:
        """(M,) log-odds."""
        x_BTD = self.drop(self.reading(batch.items_BT, batch.reactions_BT))
        states_BTD = _after(self.start, self.recurrent(x_BTD)[0] if x_BTD.shape[1] else x_BTD)
        state_MD = states_BTD[batch.of_M, batch.place_M]
        return torch.as_tensor(self.head(state_MD, self.reading.item(batch.target_M), batch.target_M))


class Caser(nn.Module):
    """Convolutions over the last reactions as an image: across places (all heights), and along them.

    Tang and Wang, Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding, WSDM 2018, with
    its user vectors. Departures: reactions are read beside items; the head (the paper: sampled negatives, and targets
    up to three steps ahead).
    """

    ACROSS, ALONG = 16, 4

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.reading = Reading(sizes)
        self.across = nn.ModuleList(nn.Conv1d(sizes.hidden, self.ACROSS, height) for height in range(1, IMAGE + 1))
        self.along = nn.Linear(IMAGE, self.ALONG)
        self.drop = nn.Dropout(sizes.dropout)
        self.whole = nn.Linear(self.ACROSS * IMAGE + self.ALONG * sizes.hidden, sizes.hidden)
        self.user = nn.Embedding(sizes.users, sizes.hidden)
        nn.init.normal_(self.user.weight, std=0.02)
        self.head = Head(sizes, 2 * sizes.hidden)

    def forward(self, batch: Batch) -> Tensor:
        """(M,) log-odds."""
        x_BDT = functional.pad(self.reading(batch.items_BT, batch.reactions_BT).transpose(1, 2), (IMAGE, 0))
        image = torch.cat([found[batch.of_M, :, batch.place_M] for found in self._images(x_BDT)], -1)
        state_MD = torch.relu(self.whole(self.drop(image)))
        state_MS = torch.cat([state_MD, self.user(batch.user_B[batch.of_M])], -1)
        return torch.as_tensor(self.head(state_MS, self.reading.item(batch.target_M), batch.target_M))

    def _images(self, x_BDT: Tensor) -> Iterator[Tensor]:
        """(B, ., T + 1) of each filter: what it finds in the image that ends before a place, once for all questions."""
        for height, maps in enumerate(self.across, start=1):
            yield functional.max_pool1d(torch.relu(maps(x_BDT)), IMAGE - height + 1, stride=1)
        yield self.along(x_BDT.unfold(2, IMAGE, 1)).transpose(2, 3).flatten(1, 2)


class DIN(nn.Module):
    """Attention of the target over the last reactions, summed without softmax, and a small network on top.

    Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD 2018. Departures: reactions are read
    beside items; what each reaction says by itself (its evidence for any target) is summed along; PReLU for Dice;
    weight decay for mini-batch aware regularisation; no further user, item or context features.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d = sizes.hidden
        self.reading = Reading(sizes)
        self.drop = nn.Dropout(sizes.dropout)
        self.meet = nn.Linear(4 * d, 36)
        self.activation = nn.Sequential(nn.PReLU(), nn.Linear(36, 1))
        self.top = nn.Sequential(
            nn.Linear(4 * d, 80), nn.PReLU(), nn.Dropout(sizes.dropout), nn.Linear(80, 40), nn.PReLU(), nn.Linear(40, 1)
        )
        self.bias = nn.Embedding(sizes.items, 1)
        nn.init.zeros_(self.bias.weight)

    def forward(self, batch: Batch) -> Tensor:
        """(M,) log-odds."""
        items_ML, reactions_ML = batch.last(LAST)
        there_ML1 = (items_ML > 0)[..., None]
        past_MLD = self.drop(self.reading(items_ML, reactions_ML))
        target_MD = self.drop(self.reading.item(batch.target_M))
        weight_ML1 = self.activation(self._met(past_MLD, target_MD)) * there_ML1
        interest_MD = (weight_ML1 * past_MLD).sum(1) / LAST**0.5
        mean_MD = (past_MLD * there_ML1).sum(1) / (there_ML1.sum(1) + 1)
        seen = torch.cat([interest_MD, mean_MD, target_MD, interest_MD * target_MD], -1)
        return torch.as_tensor(self.top(seen)[:, 0] + self.bias(batch.target_M)[:, 0])

    def _met(self, past_MLD: Tensor, target_MD: Tensor) -> Tensor:
        """(M, L, 36): `meet` of [past, target, past - target, past x target], without that wide thing being made."""
        past, target, less, times = self.meet.weight.chunk(4, dim=1)
        of_past = functional.linear(past_MLD, past + less, self.meet.bias)
        of_target = functional.linear(target_MD, target - less)[:, None]
        return of_past + of_target + functional.linear(past_MLD * target_MD[:, None], times)


NETWORKS: Final[Mapping[str, Callable[[Sizes], nn.Module]]] = {
    "sasrec": SASRec,
    "caser": Caser,
    "gru4rec": GRU4Rec,
    "din": DIN,
}


def _after(start_D: Tensor, x_BTD: Tensor) -> Tensor:
    """(B, T + 1, D): `start_D`, then `x_BTD`."""
    return torch.cat([start_D.expand(x_BTD.shape[0], 1, -1), x_BTD], 1)
