"""A training step alone, on a model of two matrices: against torch's own loss, clipping and AdamW."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from switchpoint.components.recipe.optimizer import Optimizer
from switchpoint.components.recipe.training import Training
from switchpoint.components.train.data import Batch
from switchpoint.components.train.guard import Guard
from switchpoint.components.train.optimizer import build_optimizer
from switchpoint.components.train.parallel import Ranks
from switchpoint.components.train.training_step import TrainingStep

VOCAB, RATE, STEP = 11, 0.01, 3
NAMES = ["answers", "prose", "unused"]
TOKENS = torch.randint(VOCAB, (4, 6), generator=torch.Generator().manual_seed(5))
SOURCES = [1, 0, 1, 1]


class TinyModel(nn.Module):
    """Logits from the last token alone; losses as `install_loss` makes a model return them."""

    def __init__(self, scale: float = 30.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.embedding = nn.Parameter(torch.randn(VOCAB, 8, generator=generator))
        self.head = nn.Parameter(torch.randn(VOCAB, 8, generator=generator) * scale)

    def losses(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = self.embedding[inputs] @ self.head.T
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape)

    def forward(self, input_ids: torch.Tensor, labels_BL: torch.Tensor, sources: list[int]) -> Any:
        losses = self.losses(input_ids, labels_BL).sum(1)
        by_source = torch.zeros(max(sources) + 1).index_add(0, torch.tensor(sources), losses.detach())
        return losses.sum(), by_source


PLAIN, PAPER = Training(), Optimizer()
OTHER = Optimizer(beta1=0.8, beta2=0.9, epsilon=1e-3, weight_decay=0.5, max_grad_norm=0.25)


def training_step(
    model: TinyModel,
    training: Training = PLAIN,
    optimizer: Optimizer = PAPER,
) -> tuple[TrainingStep, torch.optim.Optimizer]:
    job: Any = SimpleNamespace(
        seed=0, training=training, end_of_document=0,
        settings=SimpleNamespace(document_mask=False, optimizer=optimizer),
        clock=SimpleNamespace(tokens_at=lambda step: step * 20),
        schedule=SimpleNamespace(learning_rate=lambda tokens: RATE * tokens / 60),
    )  # fmt: skip
    built = build_optimizer(model, optimizer)
    return TrainingStep(job, Ranks(0, 1, training), model, built, Guard(training), NAMES), built  # type: ignore[arg-type]


def batch(tokens: torch.Tensor = TOKENS) -> Batch:
    labels = torch.tensor([5.0, 15.0, 0.0], dtype=torch.float64)
    return Batch(tokens=tokens, sources=SOURCES, num_labels=labels, has_gaps=False)


@pytest.mark.parametrize("settings", [PAPER, OTHER], ids=["paper", "other"])
@pytest.mark.parametrize("scale", [30.0, 0.01], ids=["clipped", "small gradients"])
@pytest.mark.parametrize("micro_batch_size", [None, 1, 2])
def test_two_steps_are_those_of_torch(scale: float, micro_batch_size: int | None, settings: Optimizer) -> None:
    """Two, because AdamW's first update does not depend on the size of the gradients."""
    model, expected = TinyModel(scale), TinyModel(scale)
    step, _ = training_step(model, Training(micro_batch_size=micro_batch_size), settings)
    optimizer = torch.optim.AdamW(
        expected.parameters(), betas=(settings.beta1, settings.beta2), eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )  # fmt: skip
    for number, tokens in ((STEP, TOKENS), (2 * STEP, TOKENS // 3)):
        result = step.update(number, step.forward_backward(batch(tokens), number), flags=(True, False))

        losses = expected.losses(tokens[:, :-1], tokens[:, 1:])
        losses.mean().backward()
        norm = torch.nn.utils.clip_grad_norm_(expected.parameters(), settings.max_grad_norm)
        optimizer.param_groups[0]["lr"] = RATE * number / STEP
        optimizer.step()
        optimizer.zero_grad()
        assert (norm > 1) == (scale > 1)
        assert result.loss == pytest.approx(losses.mean().item(), rel=1e-5)
        assert result.losses == pytest.approx(
            {"answers": losses[1].mean().item(), "prose": losses[[0, 2, 3]].mean().item()}, rel=1e-5
        )
        assert result.grad_norm == pytest.approx(norm.item(), rel=1e-5)
        assert (result.learning_rate, result.problem, result.flags) == (RATE * number / STEP, "", [True, False])
        for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
            assert found.grad is None


def test_a_refused_step_leaves_weights_and_moments_and_clears_the_gradients() -> None:
    model = TinyModel()
    step, optimizer = training_step(model)
    sums = step.forward_backward(batch(), STEP)
    assert model.head.grad is not None
    model.head.grad[0, 0] = math.nan
    result = step.update(STEP, sums)
    assert result.problem == "the gradient norm is nan"
    assert not optimizer.state
    for found, before in zip(model.parameters(), TinyModel().parameters(), strict=True):
        assert torch.equal(found, before)
        assert found.grad is None
    assert not step.update(STEP, step.forward_backward(batch(), STEP)).problem
    assert not torch.equal(model.head, TinyModel().head)
