"""A launcher as a process of its own: `python -m tests.components.launch.launcher NAME LOGS [FIELD=VALUE ...]`.

Looks at its job often; prints how it ended as one line of JSON, last.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from switchpoint.components.launch import cluster_log, following
from switchpoint.components.launch.job import JobRequest, Superseded
from switchpoint.components.launch.launcher import run_job
from switchpoint.components.recipe.cluster import Cluster


def main() -> None:
    following.POLL_SECONDS = 0.1
    cluster_log.AGAIN_SECONDS = 0.5
    following.BLOCKED_SECONDS = 1.0
    name, logs, *fields = sys.argv[1:]
    given = dict(field.split("=", 1) for field in fields)
    following.ENDING_SECONDS = float(given.pop("ending_seconds", 900))
    following.GONE_SECONDS = float(given.pop("gone_seconds", 0.1))
    done = Path(given.pop("done", "/nowhere"))
    num_processes, content = int(given.pop("num_processes", 2)), given.pop("content", "")
    study, tries = given.pop("study", "tiny"), int(given.pop("tries", 1))
    request = JobRequest(
        name=name, module="switchpoint.components.train.app", arguments=("job.json",), log_folder=Path(logs),
        num_processes=num_processes, cluster=Cluster.model_validate({"device": "none", **given}), content=content,
        labels={"study": study, "step": "gb"}, notes={"arms": "a, b"}, is_done=done.exists,
    )  # fmt: skip
    while tries:
        try:
            end = run_job(request)
            tries = tries - 1 if end.may_resume and not end.succeeded else 0
        except Superseded:  # as whoever trains does: what is left to do is worked out anew
            print("superseded", flush=True)
    print(json.dumps(asdict(end) | {"log": str(end.log)}))


if __name__ == "__main__":
    main()
