"""The store's login by names of its own: it is used, whatever AWS_* says beside it, and goes nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchpoint.components.launch.volcano import NEVER_HANDED_ON
from switchpoint.components.recipe.errors import BadInput
from switchpoint.components.store.login import (
    ENDPOINT_VARIABLE,
    KEY_VARIABLE,
    REGION_VARIABLE,
    SECRET_KEY_VARIABLE,
    use_own_login,
)
from tests.components.conftest import KEY, SECRET, ObjectStore

OURS = {
    KEY_VARIABLE: KEY, SECRET_KEY_VARIABLE: SECRET, ENDPOINT_VARIABLE: "http://ours", REGION_VARIABLE: "us-east-1",
}  # fmt: skip
THEIRS = {
    "AWS_ACCESS_KEY_ID": "of-kfp", "AWS_SECRET_ACCESS_KEY": "a-secret-of-kfp", "AWS_SESSION_TOKEN": "a-session-of-kfp",
    "AWS_SECURITY_TOKEN": "another", "AWS_CREDENTIAL_EXPIRATION": "2020-01-01T00:00:00Z", "AWS_PROFILE": "of-kfp",
    "AWS_DEFAULT_PROFILE": "of-kfp", "AWS_ROLE_ARN": "arn:aws:iam::1:role/of-kfp",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token", "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_DEFAULT_REGION": "elsewhere-1",
}  # fmt: skip
"""All that botocore might read of a container that has somebody else's login, too."""
WORK = """
import sys
from switchpoint.components.data.corpus import list_files
from switchpoint.components.store import remote
from switchpoint.components.store.opening import open_store
url = sys.argv[1]
store = open_store(f"{url}/store")
store.write("jobs/a/job.json", {"of": "a job"})
print(remote.read_bytes(f"{url}/store/jobs/a/job.json"), list_files(f"{url}/store/jobs", "folder")[0][0])
"""
LIST = """
import sys
from switchpoint.components.data.corpus import list_files
print(list_files(sys.argv[1], 'folder')[0][0])
"""


def test_it_takes_the_place_of_all_that_is_somebody_elses() -> None:
    environment = THEIRS | OURS | {"PATH": "/bin"}
    use_own_login(environment)
    assert environment == OURS | {
        "PATH": "/bin", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": "http://ours",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    again = dict(environment)
    use_own_login(again)
    assert again == environment


def test_a_user_at_a_terminal_keeps_what_is_set() -> None:
    for environment in (dict(THEIRS), THEIRS | dict.fromkeys(OURS, ""), {}):
        before = dict(environment)
        use_own_login(environment)
        assert environment == before


def test_a_login_alone_is_for_the_address_of_aws() -> None:
    environment = THEIRS | {name: OURS[name] for name in (KEY_VARIABLE, SECRET_KEY_VARIABLE)}
    use_own_login(environment)
    assert (environment["AWS_ACCESS_KEY_ID"], environment["AWS_DEFAULT_REGION"]) == (KEY, "elsewhere-1")
    assert not [name for name in environment if name.startswith("AWS_ENDPOINT")]


def test_an_address_alone_is_reached_with_the_login_that_is_there() -> None:
    """Of a service account's role, say."""
    environment = THEIRS | {ENDPOINT_VARIABLE: "http://ours"}
    use_own_login(environment)
    assert environment["AWS_ENDPOINT_URL"] == "http://ours"
    assert "AWS_ENDPOINT_URL_S3" not in environment
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN"):
        assert environment[name] == THEIRS[name]


@pytest.mark.parametrize("name", [KEY_VARIABLE, SECRET_KEY_VARIABLE])
def test_half_a_login_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(BadInput, match="half a login") as refused:
        use_own_login({name: "never-shown"})
    assert "never-shown" not in str(refused.value)
    assert refused.value.field in {KEY_VARIABLE, SECRET_KEY_VARIABLE} - {name}


def test_it_is_never_handed_on_to_the_pods_of_jobs() -> None:
    assert all(name.startswith(NEVER_HANDED_ON) for name in OURS)


@pytest.mark.parametrize("program", [WORK, LIST])
def test_a_task_beside_the_wrong_keys_of_kubeflow_pipelines(
    object_store: ObjectStore, s3_endpoint: str, tmp_path: Path, program: str
) -> None:
    """With a real store, whichever part of a task opens it first. Without ours the same task is refused."""
    object_store.system.pipe_file(f"{object_store.url}/store/jobs/before.json", b"{}")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    limits = '{"config_kwargs": {"connect_timeout": 2, "read_timeout": 5, "retries": {"max_attempts": 1}}}'
    here = bare | THEIRS | {"SWITCHPOINT_CACHE": str(tmp_path), "FSSPEC_S3": limits}

    def run(ours: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        folder = f"{object_store.url}/store/jobs" if program == LIST else object_store.url
        command = [sys.executable, "-c", program, folder]
        return subprocess.run(command, env=here | ours, capture_output=True, text=True, check=False, timeout=300)

    done = run(OURS | {ENDPOINT_VARIABLE: s3_endpoint})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].endswith(".json")
    wrong = run(OURS | {ENDPOINT_VARIABLE: s3_endpoint, SECRET_KEY_VARIABLE: "a-wrong-secret"})
    assert wrong.returncode != 0
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    here = bare | {name: THEIRS[name] for name in names} | {"AWS_ENDPOINT_URL": s3_endpoint, "FSSPEC_S3": limits}
    refused = run({"SWITCHPOINT_CACHE": str(tmp_path)})
    assert refused.returncode != 0
    assert "PermissionError" in refused.stderr
    said = "".join(one.stdout + one.stderr for one in (done, wrong, refused))
    assert not any(secret in said for secret in (SECRET, "a-wrong-secret", "a-secret-of-kfp", "a-session-of-kfp"))
