"""Make the sources that bases generate: their text, their tokens, and the blends that draw them."""

from switchpoint.components.data.blend import tokenise_generated, write_blends
from switchpoint.components.generate.run import generate_text
from switchpoint.components.launch.task import failure_as_data
from switchpoint.components.recipe.plan import Plan
from switchpoint.components.stages.run import check_model_folder
from switchpoint.components.store.store import Store


def make_source(plan: Plan, store: Store, name: str, file: str = "") -> None:
    """Generate and tokenise a source, and build the blends whose generated sources are all there; skip what the store
    has.

    A failure is data: it is in the store, and the runs that draw the source tell it. `file`: the recipe's, for
    messages.
    """
    output = plan.generations[name]
    with failure_as_data(store, output.identity) as failed:
        if not store.is_done(output.identity):
            check_model_folder(plan.bases[output.stage.base])
        generate_text(plan, store, output)
    if failed:
        return
    with failure_as_data(store, plan.tokens[name]) as failed:
        tokenise_generated(plan, store, name)
    if failed:
        return
    for phase in plan.blends.values():
        generated = plan.generated_in(phase)
        if name in generated and all(store.is_done(plan.tokens[one]) for one in generated):
            with failure_as_data(store, phase.blend_identity):
                write_blends(plan, store, [phase], file)
