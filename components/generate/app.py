"""Generate shards of documents one after the other, each process its own.

`python -m switchpoint.components.generate.app JOB.json`
"""

import os
import sys
from pathlib import Path
from typing import Any

from switchpoint.components.generate.shards import GenerateJob, Uniforms, as_data, shard_documents
from switchpoint.components.launch.process import die_with_parent
from switchpoint.components.store.location import exists, read_json
from switchpoint.components.store.opening import store_at
from switchpoint.components.store.store import Store
from switchpoint.components.train.inference import load_for_inference

CPU_CACHE_BYTES = 2**30
"""The memory for keys and values on a CPU."""
MAX_BATCH = 64


def main() -> None:
    die_with_parent()
    job = GenerateJob.model_validate(read_json(sys.argv[1]))
    store = store_at(job.store)
    shards = list(enumerate(zip(job.files(), job.shard_tokens(), strict=True)))
    own = shards[int(os.environ["RANK"]) :: int(os.environ["WORLD_SIZE"])]
    # Those of an earlier start are there: a cluster restarts pods without the launcher.
    left = [shard for shard in own if not exists(f"{job.store}/{shard[1][0]}")]
    if left:
        generate = Generator(job, store)
        for number, (file, num_tokens) in left:
            store.write(file, generate.shard(number, num_tokens))
            print(f"shard {number + 1} of {len(shards)}: {num_tokens:,} tokens", flush=True)


class Generator:
    """A model that generates a job's shards."""

    def __init__(self, job: GenerateJob, store: Store) -> None:
        from switchpoint.components.data.document_tokenizer import DocumentTokenizer
        from switchpoint.components.data.tokenizer import num_ids

        self.job = job
        self.documents = DocumentTokenizer(store.fetch_folder(job.tokenizer))
        self.start, self.end = self.documents.before_text, self.documents.end_of_document
        self.num_ids = num_ids(self.documents.tokenizer)
        self.model = _load(store.fetch_folder(job.model))
        self.longest = job.sequence_length - len(self.start) + 1
        self.batch_size = _batch_size(self.model, job.sequence_length)

    def shard(self, number: int, num_tokens: int) -> dict[str, Any]:
        """Return a shard of documents as its file holds it."""
        from switchpoint.components.generate.sample import sample_documents

        def sample(uniforms: Uniforms) -> list[list[int]]:
            return sample_documents(
                self.model, self.start, self.end, self.num_ids, self.job.temperature, uniforms
            )  # fmt: skip

        key = (self.job.seed, number)
        documents = shard_documents(sample, num_tokens, self.longest, self.batch_size, key)
        # Control tokens have no text: they are left out.
        return as_data(documents, self.end, self.documents.decode)


def _load(folder: Path) -> Any:
    """Load the model. On a GPU operations are deterministic, as far as it has such."""
    import torch

    if torch.cuda.device_count():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return load_for_inference(folder)


def _batch_size(model: Any, sequence_length: int) -> int:
    """Return the number of documents at a time: half of the GPU's memory beside the weights is for keys and values.

    It follows from the model and the kind of GPU only, so that the same machine rounds alike each time.
    """
    import torch

    config = model.config
    num_heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // num_heads
    key_heads = getattr(config, "num_key_value_heads", None) or num_heads
    document_bytes = 2 * config.num_hidden_layers * key_heads * width * sequence_length * 4
    room = CPU_CACHE_BYTES
    if model.device.type == "cuda":
        weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        room = (torch.cuda.get_device_properties(model.device).total_memory - weights) // 2
    return max(1, min(MAX_BATCH, room // document_bytes))


if __name__ == "__main__":
    main()
