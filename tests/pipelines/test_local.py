"""The process that runs the compiled pipeline on this machine."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp import components, local

import switchpoint.pipelines.local


def test_every_run_of_the_pipeline_has_an_id_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By which its Jobs, and the failures that it records, are told from those of other runs."""
    found = []

    def load(spec: str) -> Any:
        return lambda **_: found.append(os.environ["KFP_RUN_ID"])

    (tmp_path / "arguments.json").write_text(json.dumps({}))
    monkeypatch.setattr(sys, "argv", ["local", "spec", str(tmp_path / "arguments.json"), str(tmp_path)])
    monkeypatch.setattr(switchpoint.pipelines.local, "die_with_parent", lambda: None)
    monkeypatch.setattr(switchpoint.pipelines.local, "_allow_as_many_as_fit", lambda: None)
    monkeypatch.setattr(components, "load_component_from_file", load)
    monkeypatch.setattr(local, "init", lambda *_, **__: None)
    for _ in range(2):
        monkeypatch.setenv("KFP_RUN_ID", "unset")
        monkeypatch.delenv("KFP_RUN_ID")
        switchpoint.pipelines.local.main()
    assert len(set(found)) == 2
    monkeypatch.setenv("KFP_RUN_ID", "of-the-backend")
    switchpoint.pipelines.local.main()
    assert found[2] == "of-the-backend"
