"""One trainer in a process of its own: `python trainer_contenders.py NAME FOLDER`.

It trains so many steps for every line on its standard input and answers with one line of JSON: CPU-seconds,
wall-seconds and losses. Nothing of the project is imported but by `switchpoint`: litgpt has an environment of its own.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

LEARNING_RATE, BETAS, DECAY = 1e-3, (0.9, 0.95), 0.1


class Rounds:
    """Counts steps, and waits for the next line after every round."""

    def __init__(self, steps: int) -> None:
        self.steps, self.losses, self.began = steps, list[float](), (0.0, 0.0)

    def wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit(0)
        self.losses, self.began = [], (time.process_time(), time.perf_counter())

    def step(self, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) == self.steps:
            cpu, wall = time.process_time() - self.began[0], time.perf_counter() - self.began[1]
            print(json.dumps({"cpu": cpu, "wall": wall, "losses": self.losses}), flush=True)
            self.wait()


def batches(folder: Path) -> Iterator[torch.Tensor]:
    import numpy as np

    for tokens in np.load(folder / "batches.npy", mmap_mode="r"):
        yield torch.from_numpy(tokens.astype("int64"))


def hugging_face_model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).train()


def optimizer(model: Any) -> torch.optim.AdamW:
    groups = [
        {"params": [one for one in model.parameters() if one.ndim >= 2], "weight_decay": DECAY},
        {"params": [one for one in model.parameters() if one.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)


def bare_loop(folder: Path, rounds: Rounds) -> None:
    """Forward, backward, step: nothing else."""
    model = hugging_face_model(folder)
    _loop(model, lambda inputs: model(input_ids=inputs, use_cache=False).logits, folder, rounds, clip=False)


def litgpt(folder: Path, rounds: Rounds) -> None:
    """Its model, in the loop of its own pretraining: loss, backward, clip, step."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
    from safetensors.torch import load_file

    given = json.loads((folder / "model" / "config.json").read_text())
    config = Config(
        name="bench", block_size=given["max_position_embeddings"], vocab_size=given["vocab_size"],
        padded_vocab_size=given["vocab_size"], n_layer=given["num_hidden_layers"], n_embd=given["hidden_size"],
        n_head=given["num_attention_heads"], n_query_groups=given["num_key_value_heads"], rotary_percentage=1.0,
        parallel_residual=False, bias=False, norm_class_name="RMSNorm", norm_eps=given["rms_norm_eps"],
        mlp_class_name="LLaMAMLP", intermediate_size=given["intermediate_size"],
        rope_base=int(given["rope_parameters"]["rope_theta"]),
    )  # fmt: skip
    model = GPT(config)
    weights: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, load_file(folder / "model" / "model.safetensors"))
    model.load_state_dict(weights)
    model.max_seq_length = given["max_position_embeddings"]
    _loop(model.train(), model, folder, rounds, clip=True)


def _loop(
    model: Any, logits_of: Callable[[torch.Tensor], torch.Tensor], folder: Path, rounds: Rounds, clip: bool
) -> None:
    adam = optimizer(model)
    rounds.wait()
    for tokens in batches(folder):
        loss = F.cross_entropy(logits_of(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        rounds.step(loss.item())


def hf_trainer(folder: Path, rounds: Rounds) -> None:
    from torch.utils.data import Dataset, SequentialSampler
    from transformers import Trainer, TrainerCallback, TrainingArguments

    samples = torch.cat(list(batches(folder)))

    class Samples(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(samples)

        def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
            tokens = samples[number]
            return {"input_ids": tokens[:-1], "labels": tokens[:-1], "shift_labels": tokens[1:]}

    class Pause(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                rounds.step(float(logs["loss"]))

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    arguments = TrainingArguments(
        output_dir=str(folder / "hf"), per_device_train_batch_size=8, max_steps=len(samples) // 8,
        learning_rate=LEARNING_RATE, lr_scheduler_type="constant", adam_beta1=BETAS[0], adam_beta2=BETAS[1],
        weight_decay=DECAY, max_grad_norm=1.0, optim="adamw_torch_fused", logging_steps=1, save_strategy="no",
        report_to="none", disable_tqdm=True, use_cpu=True, remove_unused_columns=False,
    )  # fmt: skip
    from transformers.trainer_callback import PrinterCallback

    trainer = InOrder(model=hugging_face_model(folder), args=arguments, train_dataset=Samples(), callbacks=[Pause()])
    trainer.remove_callback(PrinterCallback)
    rounds.wait()
    trainer.train()


def switchpoint(folder: Path, rounds: Rounds) -> None:
    """All of our loop: batches read by the sampler, losses by source, guard, watchdog, metrics file."""
    from switchpoint.components.train import loop
    from switchpoint.components.train.job import TrainJob
    from switchpoint.components.train.parallel import Ranks, join_processes

    job = TrainJob.model_validate_json((folder / "job.json").read_text())
    join_processes(Ranks(0, 1, job.training), "", 60)
    trainer = loop.Trainer(job, 0, 1)
    whole_step = trainer._train_step

    def step(batch: Any) -> Any:
        done = whole_step(batch)
        rounds.step(done[0].loss)
        return done

    trainer._train_step = step  # type: ignore[method-assign]
    rounds.wait()
    trainer.run()


if __name__ == "__main__":
    torch.set_num_threads(2)
    contenders = {"bare_loop": bare_loop, "switchpoint": switchpoint, "hf_trainer": hf_trainer, "litgpt": litgpt}
    contenders[sys.argv[1]](Path(sys.argv[2]), Rounds(int(sys.argv[3])))
