"""The store's login, from variables of its own: AWS_* in a task's container may be the login of another program.

Kubeflow Pipelines' launcher runs in the same container, before and after the task's Python, and reads AWS_* for its own
object store: keys of ours by those names would replace the role that it has from its service account. So on a cluster
the store's login has other names (pipelines/site.py), and becomes AWS_* only in this process and those that it starts.
"""

import os
from collections.abc import MutableMapping

from switchpoint.components.recipe.errors import BadInput

KEY_VARIABLE, SECRET_KEY_VARIABLE = "SWITCHPOINT_STORE_ACCESS_KEY_ID", "SWITCHPOINT_STORE_SECRET_ACCESS_KEY"
ENDPOINT_VARIABLE, REGION_VARIABLE = "SWITCHPOINT_STORE_ENDPOINT_URL", "SWITCHPOINT_STORE_REGION"
OTHER_LOGINS = (
    "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
)  # fmt: skip
"""What botocore reads beside a key, or instead of one."""
OTHER_PLACES = ("AWS_ENDPOINT_URL_S3", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
"""What botocore reads instead of AWS_ENDPOINT_URL."""


def use_own_login(environment: MutableMapping[str, str] = os.environ) -> None:
    """Copy the store's own login and address to the names that its library reads; without them, change nothing.

    The store's login is never sent to another program's address: where only the login is given, the address is AWS's
    own. An address alone is used with the login that AWS_* or the machine has.
    Raise BadInput for half a login.
    """
    key, secret, endpoint, region = (
        environment.get(name, "") for name in (KEY_VARIABLE, SECRET_KEY_VARIABLE, ENDPOINT_VARIABLE, REGION_VARIABLE)
    )
    if bool(key) != bool(secret):
        given, missing = (KEY_VARIABLE, SECRET_KEY_VARIABLE) if key else (SECRET_KEY_VARIABLE, KEY_VARIABLE)
        raise BadInput(
            f"half a login: {given} is set, {missing} is not", field=missing,
            allowed="both, such as the keys of the Secret `switchpoint-store`, or none",
        )  # fmt: skip
    if key:
        environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"] = key, secret
        _remove(OTHER_LOGINS, environment)
    if key or endpoint:
        _remove(("AWS_ENDPOINT_URL", *OTHER_PLACES), environment)
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    if region:
        environment["AWS_DEFAULT_REGION"] = region


def _remove(names: tuple[str, ...], environment: MutableMapping[str, str]) -> None:
    for name in names:
        environment.pop(name, None)
