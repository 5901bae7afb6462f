"""The plan as data: what `switchpoint plan --json` prints, and what the command shows as tables."""

from collections.abc import Callable
from typing import Any

from switchpoint.components.plan.price import Price, over_budget
from switchpoint.components.plan.reasons import reasons
from switchpoint.components.recipe.base import BASE
from switchpoint.components.recipe.digest import Identity
from switchpoint.components.recipe.epochs import MANY_EPOCHS, PackedSamples, check_sources, known_tokens, phase_epochs
from switchpoint.components.recipe.plan import ArmPlan, Plan
from switchpoint.components.recipe.source import SourceKey, split_key
from switchpoint.components.recipe.stage import Phase
from switchpoint.components.store.store import Store

IsDone = Callable[[Identity], bool]


def plan_data(
    plan: Plan,
    store: Store,
    measured: dict[SourceKey, int],
    packed: PackedSamples,
    is_done: IsDone,
    most_tokens: int | None = None,
) -> dict[str, Any]:
    """Return the plan as data. Steps, tokens and weights are exact; epochs are counted by `measured` sizes where a
    source is tokenised, else by the declared ones, and are None where neither is known. Reads records, no token data.
    """
    price, sizes = Price(plan), known_tokens(plan, measured)
    identities = plan.identities()
    done = {identity.digest for identity in identities if is_done(identity)}
    missing = [identity for identity in identities if identity.digest not in done]
    why = reasons(plan, store, missing)
    open_runs = [run for run in plan.runs if run.identity.digest not in done]
    epochs = check_sources(plan, sizes, packed=packed)
    return {
        "study": plan.recipe.name,
        "start": plan.recipe.start,
        "tokens_alone": plan.tokens_alone,
        "tokens_shared": plan.tokens_shared,
        **({"is_upper_bound": plan.may_end_early} if any(arm.gates for arm in plan.arms) else {}),
        "base": {"digest": plan.base.digest} | (price.pretraining(plan.bases[BASE]) or {}),
        "bases": [
            {
                "name": name, "digest": base.output.identity.digest, "model": base.model.digest,
                "of": base.parent, "step": base.step, "described": base.described,
            }
            | (price.pretraining(base) or {})
            for name, base in plan.bases.items()
        ],
        **({"generated": _generated(plan, price)} if plan.generations else {}),
        "gb_runs": [
            {
                "digest": run.identity.digest, "blend": run.stage.blend, "seed": run.stage.seed,
                "parent": run.parent.digest if run.parent else None, "start_step": run.stage.start_step,
                "end_step": run.stage.end_step, "keep_steps": list(run.keep_steps), "tokens": run.stage.tokens,
                "checkpoint_bytes": price.checkpoint_bytes(run),
            }
            for run in plan.gb_runs
        ],
        "arms": [_arm(arm, price, sizes, packed) for arm in plan.arms],
        "total": price.runs(list(plan.runs)),
        "left_to_do": price.runs(open_runs),
        "merges": [
            {"name": one.run_name, "digest": one.model.digest, "seed": one.seed, "of": one.described}
            for one in plan.derived
        ],
        "checkpoint_bytes": _sum(
            [
                *map(price.base_bytes, plan.base_outputs.values()), *map(price.checkpoint_bytes, plan.runs),
                price.derived_bytes(plan.derived),
            ]
        ),
        "checkpoint_bytes_left": _sum(
            [
                *(price.base_bytes(output) for digest, output in plan.base_outputs.items() if digest not in done),
                *map(price.checkpoint_bytes, open_runs),
                price.derived_bytes(one for one in plan.derived if one.model.digest not in done),
            ]
        ),
        "memory": price.memory(),
        "epochs": epochs,
        "left_out": list(plan.recipe.left_out),
        "bound": {name: one.environment for name, one in plan.sources_with_text().items() if one.environment},
        "over_budget": over_budget(plan, most_tokens),
        "warnings": _warnings(plan, store, epochs, sizes, measured),
        "cached": [identity.path for identity in identities if identity.digest in done],
        "missing": [
            {"output": identity.path, "why": why.get(identity.digest, [])} for identity in missing
        ],
    }  # fmt: skip


def _sum(values: Any) -> int | None:
    found = list(values)
    return None if None in found else sum(found)


def _generated(plan: Plan, price: Price) -> list[dict[str, Any]]:
    """Return the sources that bases generate and some blend draws."""
    outputs = {name: plan.generations[name] for name in plan.generated_sources()}
    return [
        {
            "name": name, "digest": output.identity.digest, "from": output.stage.base,
            "tokens": output.stage.config.tokens, "temperature": output.stage.config.temperature,
            "seed": output.stage.config.seed,
        }
        | price.generation(output)
        for name, output in outputs.items()
    ]  # fmt: skip


def _arm(arm: ArmPlan, price: Price, sizes: dict[SourceKey, int], packed: PackedSamples) -> dict[str, Any]:
    return {
        "arm_id": arm.arm_id, "seed": arm.seed, "run_name": arm.run_name, "base": arm.base,
        "gb_run": arm.gb_run.digest,
        "switch_step": arm.switch_step, "switch_tokens": arm.switch_tokens,
        "switch_learning_rate": arm.switch_learning_rate, "horizon_tokens": arm.horizon_tokens,
        "horizon_steps": arm.horizon_steps, "phases": [_phase(arm, phase, sizes, packed) for phase in arm.phases],
        **({"trained_tokens": arm.trained_tokens, "stopped": arm.stopped} if arm.gates else {}),
        **price.arm(arm),
    }  # fmt: skip


def _phase(arm: ArmPlan, phase: Phase, sizes: dict[SourceKey, int], packed: PackedSamples) -> dict[str, Any]:
    start, end = arm.learning_rates(phase)
    gate = next((gate for gate in arm.gates if gate.phase == phase.name), None)
    epochs = phase_epochs(phase, sizes, packed)
    names = [split_key(key)[0] for key in phase.weights]
    sources = {}
    for key, weight in phase.weights.items():
        source, tier = split_key(key)
        sources[source if names.count(source) == 1 else key] = {
            "weight": float(weight), "tokens": phase.samples[key] * phase.sequence_length,
            "epochs": float(epochs[key]) if key in epochs else None, **({"tier": tier} if tier else {}),
        }  # fmt: skip
    return {
        "name": phase.name, "blend": phase.blend, "start": phase.start, "start_step": phase.start_step,
        "end_step": phase.end_step, "tokens": phase.tokens, "start_learning_rate": start, "end_learning_rate": end,
        "sequence_length": phase.sequence_length, "packing": phase.settings.packing, "new_order": phase.order > 0,
        "batch_size": [arm.clock.batch_size(phase.start_step), arm.clock.batch_size(phase.end_step - 1)],
        "sources": sources,
        "moved": {key: count * phase.sequence_length for key, count in phase.moved.items()},
        **({"gate": gate.described, "is_upper_bound": not gate.is_decided} if gate else {}),
    }  # fmt: skip


def _warnings(
    plan: Plan,
    store: Store,
    epochs: dict[str, dict[str, float]],
    sizes: dict[SourceKey, int],
    measured: dict[SourceKey, int],
) -> list[str]:
    """Return warnings: settings that work and should be checked all the same."""
    found: list[str] = []
    most: dict[str, tuple[float, str]] = {}
    for run, by_source in epochs.items():
        for source, count in by_source.items() if run not in plan.bases else ():
            most[source] = max(most.get(source, (0.0, "")), (count, run))
    for source, (count, run) in most.items():
        if count > MANY_EPOCHS:
            found.append(
                f"{source} is gone through {count:.2f} times in {run}: above {MANY_EPOCHS}, repeats add little"
            )
    moved: dict[tuple[str, str], int] = {}
    for arm in plan.arms:
        for phase in arm.phases:
            for key, count in phase.moved.items():
                place = (arm.run_name, split_key(key)[0])
                moved[place] = moved.get(place, 0) + count * phase.sequence_length
    for (run, source), tokens in moved.items():
        cap = float(plan.recipe.sources[source].max_epochs or 0)
        found.append(f"{source} reaches its max_epochs {cap:g} in {run}: {tokens:,} tokens went to the other sources")
    unused = sorted(plan.recipe.bases.keys() - plan.bases.keys())
    if unused:
        found.append(f"no arm starts from these bases, so they are not made: {', '.join(unused)}")
    unused = [name for name in plan.recipe.generated_sources() if name not in plan.generated_sources()]
    if unused:
        found.append(f"no blend that is trained on draws these sources, so they are not generated: {', '.join(unused)}")
    found += left_out(plan, store)
    if earlier := store.unknown_kinds():
        found.append(f"the store holds outputs of an earlier version, which are not read: {', '.join(earlier)}")
    unknown = [key for key in plan.drawn_sources() if key not in sizes]
    if unknown:
        found.append(f"not tokenised yet, so epochs are unknown: {', '.join(unknown)}")
    for key, size in measured.items():
        source, tier = split_key(key)
        config = plan.recipe.sources[source]
        if config.environment:
            continue
        declared = config.tiers[tier].tokens if tier else config.size
        if declared is not None and abs(size - declared) > 0.01 * declared:
            found.append(
                f"{key} was declared with {declared:,} tokens and has {size:,}: epochs are counted by the latter"
            )
    if any(plan.recipe.sources[split_key(key)[0]].environment for key in plan.drawn_sources()):
        found.append(
            "the environment's text is larger than the paper's sources at this scale: it is repeated less often"
        )
    return found


def left_out(plan: Plan, store: Store) -> list[str]:
    """Return what the tokenised sources lack, and why: nothing is silently dropped."""
    found = []
    for name in plan.generated_sources():
        record = store.record(plan.generations[name].identity)
        empty = record["outputs"]["empty_documents"] if record else 0
        if empty:
            found.append(f"documents of {name} left out: {empty:,} (generated without text)")
    for name in plan.tokenised_sources():
        record = store.record(plan.tokens[name])
        outputs = record["outputs"] if record else {"dropped": {}, "skipped": {}}
        differences = outputs.get("engine_differences", [])
        if differences:
            found.append(f"{len(differences)} shards of {name} were tokenised again by tokenizers: {differences[0]}")
        control = outputs.get("control_tokens", {"number": 0})
        if control["number"]:
            found.append(
                f"control tokens written out in the text of {name}: {control['number']:,} in {control['documents']:,} "
                f"documents, encoded as {'text' if control['become'] == 'text' else 'control tokens'}"
            )
        for counts, what in ((outputs["dropped"], "left out"), (outputs["skipped"], "not readable")):
            if counts:
                reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
                found.append(f"documents of {name} {what}: {sum(counts.values()):,} ({reasons})")
    return found
