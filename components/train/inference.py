"""A trained model for what reads it: evaluation and generation."""

import os
from pathlib import Path
from typing import Any


def load_for_inference(folder: Path) -> Any:
    """Load a model in fp32, on this process's GPU if there are any."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    gpus = torch.cuda.device_count()
    return model.to(f"cuda:{int(os.environ.get('RANK', 0)) % gpus}" if gpus else "cpu")
