"""The report as a browser shows it: wide and narrow, without running over the edge."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from reasoningrec.evaluation.evaluate import EvaluateInputs, evaluate
from reasoningrec.evaluation.report import choose_samples, write_report

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PROBE = """<script>addEventListener("load", () => {
  const wide = document.documentElement.scrollWidth, room = document.documentElement.clientWidth;
  const drawn = [...document.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().width > 50).length;
  document.title = "pictures " + drawn + " over " + Math.max(0, wide - room);
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_fits_and_draws_its_pictures(
    inputs: EvaluateInputs, titles: dict[str, str], tmp_path: Path, width: int
) -> None:
    samples = choose_samples(inputs.explanations, inputs.evidence, inputs.test, titles, count=20, seed=0)
    _, page = write_report(evaluate(inputs), samples, tmp_path)
    text = page.read_text("utf-8")
    probed = tmp_path / "probed.html"
    policy = text.index("<meta http-equiv")  # the page allows no scripts; the probe is one
    probed.write_text(text[:policy] + PROBE + text[text.index(">", policy) + 1 :], "utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
    command += ["--virtual-time-budget=5000", "--dump-dom", probed.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = shown.split("<title>")[1].split("</title>")[0]
    assert title.startswith("pictures ")
    pictures, over = (int(part) for part in (title.split()[1], title.split()[3]))
    assert pictures >= 4
    assert over == 0
