"""The report in the side panel of Kubeflow's page: a frame of 500 pixels, in which nothing of it may be cut off."""

import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from switchpoint.components.report.run import write_report
from tests.components.tracking.made_study import make_study

PANEL_PIXELS = 500
FRAME = """<iframe style="border: 0; width: {width}px; height: 900px" srcdoc="{page}"></iframe>
<script>
  onload = () => {{
    const page = document.querySelector("iframe").contentDocument;
    const scores = page.querySelector(".scores").getBoundingClientRect();
    document.title = `page ${{page.documentElement.scrollWidth}} scores ${{Math.round(scores.right)}}`;
  }};
</script>"""


@pytest.mark.browser
def test_the_page_fits_into_the_side_panel(study: dict[str, Any], tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or pytest.skip("no Chromium: apt-get install chromium")
    plan, store = make_study(tmp_path, study)
    page = write_report(plan, store, "recipe.yaml").read_text()
    framed = tmp_path / "frame.html"
    framed.write_text(FRAME.format(width=PANEL_PIXELS, page=html.escape(page, quote=True)))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    shown = subprocess.run(
        [*command, "--virtual-time-budget=5000", framed.as_uri()], capture_output=True, text=True, timeout=120,
        check=True,
    ).stdout  # fmt: skip
    found = re.search(r"<title>page (\d+) scores (\d+)</title>", shown)
    assert found, shown[:500]
    assert int(found[1]) <= PANEL_PIXELS
    assert int(found[2]) <= PANEL_PIXELS
