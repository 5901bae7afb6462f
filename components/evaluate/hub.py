"""Whether the Hugging Face hub may be used: its client needs 15 s per data set to find out that it does not answer."""

from collections.abc import Mapping

from switchpoint.components.recipe.evaluation import Evaluation

SWITCHES = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Set to 1, the hub's libraries read their cache only."""
SECONDS = 5.0


def hub_environment(evaluation: Evaluation, environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables for a process that evaluates: it may use the hub if a suite needs that and `environment` does
    not forbid it.
    """
    if not evaluation.beyond_local:
        return dict.fromkeys(SWITCHES, "1")
    hub = environment.get("HF_HUB_OFFLINE") or environment.get("TRANSFORMERS_OFFLINE") or "0"
    return {"HF_HUB_OFFLINE": hub, "HF_DATASETS_OFFLINE": environment.get("HF_DATASETS_OFFLINE") or hub}


def hub_answers() -> bool:
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        huggingface_hub.utils.get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception:  # whichever library sends the request
        return False
    return True


def ask_only_the_cache() -> None:
    """Use the cache only from now on, as if HF_HUB_OFFLINE had been set."""
    import datasets
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = True
    datasets.config.HF_HUB_OFFLINE = True
