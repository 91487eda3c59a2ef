"""Processes that train one student together (data parallel), as torchrun or `accelerate launch` starts them.

Each computes a share of every step's rows; gradients are added up, and all take the same step, so all hold the same
weights throughout. The first process, rank 0, alone writes, and alone runs what comes before and after the training.
"""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import torch
import torch.distributed as dist

from reasoningrec.errors import StudentError
from reasoningrec.student.encode import TokenRow

PATIENCE: Final = datetime.timedelta(days=7)
"""How long the others wait for rank 0, which may have texts to get first. Launchers end all where one dies."""
Part = TypeVar("Part")


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes that train together, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def gathered(cls) -> Ranks:
        """All that a launcher has started, once each has come; alone where it has started one, or none.

        Raises:
            StudentError: they cannot reach each other.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return ALONE
        if not dist.is_initialized():
            gpu = torch.cuda.is_available()
            if gpu:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            try:
                dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
            except (RuntimeError, ValueError) as error:
                raise StudentError(
                    f"the processes of this training cannot reach each other: {error}",
                    hint="Start them all with torchrun, or one alone without it.",
                ) from None
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def threads(self) -> int:
        """The CPU cores that are this process's share."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.size > 1 else 1
        return max(1, len(os.sched_getaffinity(0)) // here)

    def share(self, parts: Sequence[tuple[TokenRow, ...]]) -> list[tuple[str, tuple[TokenRow, ...]]]:
        """(name, rows) of what this process computes of a step: whole parts, or rows where there are too few parts.

        The name is the same in however many processes a part is computed whole.
        """
        if self.size == 1 or len(parts) >= self.size:
            return [(str(n), part) for n, part in enumerate(parts) if n % self.size == self.rank]
        rows = [row for part in parts for row in part]
        own = tuple(rows[self.rank :: self.size])
        return [(f"0 {self.rank}", own)] if own else []

    def add_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Each weight's gradients of all processes, added up; one that has none counts as zeros."""
        if self.size == 1:
            return
        weights = list(weights)
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        flat = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
        dist.all_reduce(flat)
        parts = torch.split(flat, [weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.grad = part.view_as(weight)

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Each number, added up over all processes, in 64 bits; nan where one has nan."""
        if self.size == 1:
            return list(numbers)
        added = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(added)
        return added.tolist()

    def gather(self, own: Sequence[float | None], size: int) -> list[float | None]:
        """All `size` values, of which this process has every `size`-th from its rank on."""
        filled = [0.0] * size
        filled[self.rank :: self.size] = [math.nan if value is None else value for value in own]
        return [None if math.isnan(value) else value for value in self.total(filled)]

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, digest: str) -> None:
        """See that all train the same. Raises StudentError, in every process, where they do not."""
        if self.size == 1:
            return
        own = torch.tensor([int(digest[n : n + 8], 16) for n in range(0, 32, 8)])
        of_first = own.clone()
        dist.broadcast(of_first, 0)
        if self.total([float(not torch.equal(own, of_first))])[0]:
            raise StudentError(
                "the processes of this training have different rows or settings",
                hint="They must have the same run folder, configuration and version of the package.",
            )

    def part(self) -> None:
        """Let go of the others; a process that does not may crash as it ends."""
        if self.size > 1:
            dist.destroy_process_group()

    def tell(self, flag: bool) -> bool:
        """What rank 0 says, in every process."""
        if self.size == 1:
            return flag
        said = torch.tensor(float(flag))
        dist.broadcast(said, 0)
        return bool(said.item())


ALONE: Final = Ranks()
