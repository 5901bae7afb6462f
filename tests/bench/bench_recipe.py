"""How fast the recipe is: planning, importing, a schedule's inverse. `python -m tests.bench.bench_recipe` prints JSON.

Each figure stands beside a peer or a floor that is measured in the same run: machines differ, ratios less.
"""

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import yaml

from switchpoint.components.recipe.expand import expand
from switchpoint.components.recipe.load import parse_recipe, recipe_path
from switchpoint.components.recipe.recipe import Recipe
from switchpoint.components.recipe.schedule_config import Cosine

ROUNDS = 5
IMPORTS = "switchpoint.components.recipe.load, switchpoint.components.recipe.expand"


def median_seconds(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def thousand_arms() -> dict[str, Any]:
    """The paper's sources and geometry, a switch and a floor for each of 1,000 arms: 2,000 phases."""
    study: dict[str, Any] = yaml.safe_load(recipe_path("paper/table_9").read_text())
    study["arms"] = {
        f"arm{number}": {
            "switch": {"progress": f"{1 + number % 100}/102"},
            "schedule": {"kind": "cosine", "floor_ratio": 0.001 * (number // 100)},
        }
        for number in range(1000)
    }
    return study


def planning() -> dict[str, Any]:
    study = thousand_arms()
    plan_seconds = median_seconds(lambda: expand(parse_recipe(study, "r"), {}), 3)
    plan = expand(parse_recipe(study, "r"), {})
    digest_seconds = median_seconds(lambda: [identity.digest for identity in plan.identities()], 3)
    return {
        "what": "planning 1,000 arms from plain data", "seconds": plan_seconds, "wanted_seconds": 2.0,
        "floor": "pydantic validating the same recipe",
        "floor_seconds": median_seconds(lambda: Recipe.model_validate(study)),
        "gb_runs": len(plan.gb_runs), "outputs": len(plan.identities()), "listing_outputs_seconds": digest_seconds,
    }  # fmt: skip


def importing() -> dict[str, Any]:
    def seconds(modules: str) -> float:
        code = f"import time; began = time.perf_counter(); import {modules}; print(time.perf_counter() - began)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    return {
        "what": f"importing {IMPORTS}", "wanted_seconds": 0.3,
        "seconds": statistics.median(seconds(IMPORTS) for _ in range(ROUNDS)),
        "floor": "importing pydantic and yaml, which it is made of",
        "floor_seconds": statistics.median(seconds("pydantic, yaml") for _ in range(ROUNDS)),
    }  # fmt: skip


def inverting() -> dict[str, Any]:
    horizon = 300_003_360_768
    schedule = Cosine(floor_ratio=0.01).pieces(4.5e-5, horizon)
    rates = [4.5e-7 + (4.5e-5 - 4.5e-7) * (number + 0.5) / 1000 for number in range(1000)]

    def search(rate: float) -> int:
        """What one does without an inverse: bisect over the tokens."""
        low, high = 0, horizon
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if schedule.learning_rate(middle) <= rate else (middle + 1, high)
        return low

    closed = median_seconds(lambda: [schedule.tokens_at(rate) for rate in rates]) / len(rates)
    bisected = median_seconds(lambda: [search(rate) for rate in rates], 3) / len(rates)
    bare = median_seconds(lambda: [math.acos(2 * rate / 4.6e-5 - 1) for rate in rates]) / len(rates)
    furthest = max(abs(schedule.tokens_at(rate) - search(rate)) for rate in rates[::50])
    return {
        "what": "a cosine schedule's inverse", "microseconds": closed * 1e6, "wanted_microseconds": 10,
        "peer": "bisection over the tokens", "peer_microseconds": bisected * 1e6, "times_faster": bisected / closed,
        "floor": "one arc cosine in Python", "floor_microseconds": bare * 1e6, "largest_difference_tokens": furthest,
    }  # fmt: skip


def main() -> None:
    print(json.dumps({"planning": planning(), "importing": importing(), "inverting": inverting()}, indent=1))


if __name__ == "__main__":
    main()
