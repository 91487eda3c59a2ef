"""Two processes that train together end as one alone does, go on after a kill, and never wait for one that died."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import speakers
from reasoningrec.rows import read_jsonl
from reasoningrec.student.encode import TokenRow
from reasoningrec.student.ranks import Ranks
from running import SMALL

TWO = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
PATIENCE = 240
"""Seconds, on a busy machine."""


def train(folder: Path, config: str, processes: int) -> Path:
    """The folder of a student that one or two processes trained."""
    folder.mkdir()
    (folder / "c.toml").write_text(config, "utf-8")
    done = subprocess.run(command(folder, processes), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert ("processes 2" in done.stderr) == (processes == 2)
    return folder / "run" / "train"


def command(folder: Path, processes: int) -> list[str]:
    words = ["reasoningrec", "train", "--run", str(folder / "run"), str(folder / "c.toml")]
    return [*TWO, "-m", "--", *words] if processes == 2 else [sys.executable, "-m", *words]


def most_apart(one: Path, two: Path, file: str) -> float:
    first, second = load_file(one / file), load_file(two / file)
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def assert_alike(one: Path, two: Path, file: str) -> None:
    assert most_apart(one, two, file) < 2e-5
    logs = [read_jsonl(folder / "train_log.jsonl") for folder in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 2
    for alone, together in zip(*logs, strict=True):
        assert alone.pop("steps") == together.pop("steps")
        assert together == pytest.approx(alone, abs=1e-4)
    card = json.loads((two / "card.json").read_text())
    assert card["metrics"]["processes"] == 2
    assert card["data"] == json.loads((one / "card.json").read_text())["data"]


def test_two_processes_train_nano_as_one_does(tmp_path: Path) -> None:
    config = SMALL.replace("batch_tokens = 4096", "batch_tokens = 2048\naccumulate = 2")
    one, two = (train(tmp_path / str(n), config, n) for n in (1, 2))
    assert_alike(one, two, "model.safetensors")


def test_two_processes_train_an_adapter_as_one_does(tmp_path: Path) -> None:
    base = speakers.store("qwen2", tmp_path / "tiny-qwen2")
    config = SMALL.replace("max_tokens = 320", f'base = "{base}"\nmax_tokens = 1000\nlora_dropout = 0.0')
    one, two = (train(tmp_path / str(n), config, n) for n in (1, 2))
    assert_alike(one, two, "adapter_model.safetensors")


def started(folder: Path) -> subprocess.Popen[str]:
    """Two processes at work on a training, in a group of their own; checkpoints come after every step."""
    folder.mkdir(exist_ok=True)
    (folder / "c.toml").write_text(SMALL.replace("epochs = 2", "epochs = 60"), "utf-8")
    return subprocess.Popen(
        command(folder, 2), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_checkpoint(folder: Path, work: subprocess.Popen[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not any(int(place.name[-9:]) >= 5 for place in (folder / "run" / "train").glob("checkpoint-0*")):
        assert time.monotonic() < end, "no checkpoint came"
        assert work.poll() is None, work.communicate()
        time.sleep(0.02)


def members(launcher: int) -> list[int]:
    """The processes that a launcher has started, the first rank first."""
    return [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text("ascii").split()]


def test_two_processes_go_on_after_a_kill_to_the_same_weights(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    work = started(straight)
    _, said = work.communicate(timeout=PATIENCE)
    assert work.returncode == 0, said
    work = started(killed)
    wait_for_checkpoint(killed, work)
    for process in (*members(work.pid), work.pid):
        with contextlib.suppress(ProcessLookupError):  # the launcher ends the second where the first has gone
            os.kill(process, signal.SIGKILL)
    work.communicate()
    assert not (killed / "run" / "train" / "card.json").exists()
    work = started(killed)
    _, said = work.communicate(timeout=PATIENCE)
    assert work.returncode == 0, said
    assert "train: goes on where it stopped" in said
    file = Path("run/train/model.safetensors")
    assert (straight / file).read_bytes() == (killed / file).read_bytes()


def test_where_one_process_dies_the_training_ends_and_can_go_on(tmp_path: Path) -> None:
    work = started(tmp_path / "a")
    wait_for_checkpoint(tmp_path / "a", work)
    ranks = members(work.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    work.communicate(timeout=PATIENCE)
    assert work.returncode != 0
    again = started(tmp_path / "a")
    _, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said


def test_processes_that_train_different_things_are_told(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from reasoningrec.errors import StudentError\n"
        "from reasoningrec.student.ranks import Ranks\n"
        "def say(line):\n    os.write(1, f'{line}\\n'.encode())  # whole: two processes write\n"
        "ranks = Ranks.gathered()\n"
        "ranks.agree('ab' * 32)\n"
        "try:\n    ranks.agree(('ab' if ranks.first else 'cd') * 32)\n"
        "except StudentError as error:\n    say(f'TOLD {error}')\n"
        "say(f'SUM {ranks.total([1.0, float(ranks.rank)])} {ranks.gather([ranks.rank, None], 4)}')\n"
        "ranks.part()\n"
    )
    done = subprocess.run([*TWO, str(script)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("TOLD the processes of this training have different rows") == 2
    assert done.stdout.count("SUM [2.0, 1.0] [0.0, 1.0, None, None]") == 2


def row(n: int) -> TokenRow:
    return TokenRow((n,), (1,), label=True)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 5))
def test_every_row_of_a_step_is_computed_once(sizes: list[int], size: int) -> None:
    numbers = iter(range(100))
    parts = [tuple(row(next(numbers)) for _ in range(count)) for count in sizes]
    dealt = [part for rank in range(size) for part in Ranks(rank, size).share(parts)]
    assert sorted(found.prompt[0] for _, rows in dealt for found in rows) == list(range(sum(sizes)))
    assert all(rows for _, rows in dealt)
    if len(parts) >= size:
        assert dict(dealt) == {str(n): part for n, part in enumerate(parts)}, "named as in one process"


def test_alone_nothing_is_sent() -> None:
    weight: Any = torch.nn.Parameter(torch.ones(2))
    alone = Ranks()
    alone.add_gradients([weight])
    alone.agree("00" * 32)
    alone.wait()
    assert weight.grad is None
    assert (alone.tell(True), alone.total([2.0]), alone.gather([0.5, None], 2)) == (True, [2.0], [0.5, None])
