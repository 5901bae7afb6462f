"""Makes a login, or gives it another password: a Secret with MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, as
`kubectl get secret -o json` prints it, on standard input. Runs in the MLflow server's own pod."""

import base64
import json
import os
import sys

from mlflow.exceptions import MlflowException
from mlflow.server.auth.client import AuthServiceClient

secret = json.load(sys.stdin)["data"]
name, password = (
    base64.b64decode(secret[key]).decode() for key in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
)
os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
os.environ["MLFLOW_TRACKING_PASSWORD"] = os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
client = AuthServiceClient(f"http://127.0.0.1:{os.environ['MLFLOW_PORT']}")
try:
    client.create_user(name, password)
    print(f"made: {name}")
except MlflowException as error:
    if error.error_code != "RESOURCE_ALREADY_EXISTS":
        raise
    client.update_user_password(name, password)
    print(f"was there, has the Secret's password now: {name}")
