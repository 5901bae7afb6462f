"""Shapes of models by name, from 1M parameters to the paper's 15B."""

from typing import Any, Literal

Preset = Literal["1m", "5m", "15m", "50m", "125m", "350m", "1b", "3b", "8b", "15b"]


def _shape(num_layers: int, hidden_size: int, num_heads: int, num_kv_heads: int, ffn_size: int) -> dict[str, Any]:
    return {
        "num_layers": num_layers, "hidden_size": hidden_size, "num_heads": num_heads, "num_kv_heads": num_kv_heads,
        "ffn_size": ffn_size,
    }  # fmt: skip


PRESETS: dict[Preset, dict[str, Any]] = {
    "1m": _shape(4, 128, 4, 2, 384),
    "5m": _shape(6, 256, 4, 2, 688),
    "15m": _shape(8, 384, 6, 2, 1024),
    "50m": _shape(12, 576, 9, 3, 1536),
    "125m": _shape(16, 768, 12, 4, 2048),
    "350m": _shape(24, 1024, 16, 4, 2816),
    "1b": _shape(16, 2048, 32, 8, 8192),
    "3b": _shape(28, 3072, 24, 8, 8192),
    "8b": _shape(32, 4096, 32, 8, 14336) | {"tied_embeddings": False},
    # arXiv 2407.07263, section 3: its base, Nemotron-4 15B.
    "15b": _shape(32, 6144, 48, 8, 24576) | {"tied_embeddings": False, "kind": "nemotron"},
}
