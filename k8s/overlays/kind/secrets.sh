#!/usr/bin/env bash
# Makes the Secrets of this overlay with passwords that nobody has seen, all at once; where all are there, nothing.
# They go to kubectl through a pipe: none is an argument, is printed or is written to a file.
set -euo pipefail

wanted=(switchpoint/mlflow switchpoint/mlflow-database switchpoint/seaweedfs switchpoint-jobs/switchpoint-store
    kubeflow/switchpoint-mlflow kubeflow/switchpoint-store)
missing=()
for one in "${wanted[@]}"; do
    found=$(kubectl --namespace "${one%/*}" get secret "${one#*/}" --ignore-not-found --output name)
    [ -n "$found" ] || missing+=("$one")
done
if [ ${#missing[@]} = 0 ]; then
    echo "all are there already: ${wanted[*]}"
    exit
elif [ ${#missing[@]} != ${#wanted[@]} ]; then
    echo "some are there, but not ${missing[*]}: they belong together. Make those by hand, or delete all." >&2
    exit 1
fi

random() { openssl rand -hex "${1:-24}"; }
# NAMESPACE/NAME KEY VALUE [KEY VALUE ...]
secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {namespace: %s, name: %s}\nstringData:\n' "${1%/*}" "${1#*/}"
    shift
    while [ $# -gt 0 ]; do
        printf "  %s: '%s'\n" "$1" "$2"
        shift 2
    done
}
# NAME KEY SECRET: who may read and write the bucket of that name, and nothing else.
identity() {
    printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], ' "$1" "$2" "$3"
    printf '"actions": ["Read:%s", "Write:%s", "List:%s", "Tagging:%s"]}' "$1" "$1" "$1" "$1"
}

store_key=$(random 10) store_secret=$(random) mlflow_key=$(random 10) mlflow_secret=$(random)
identities="{\"identities\": [$(identity switchpoint "$store_key" "$store_secret"), $(identity mlflow "$mlflow_key" "$mlflow_secret")]}"
{
    secret switchpoint/mlflow MLFLOW_AUTH_ADMIN_PASSWORD "$(random)" MLFLOW_FLASK_SERVER_SECRET_KEY "$(random 32)" \
        AWS_ACCESS_KEY_ID "$mlflow_key" AWS_SECRET_ACCESS_KEY "$mlflow_secret"
    secret switchpoint/mlflow-database PGHOST postgresql PGPORT 5432 PGDATABASE mlflow PGUSER mlflow PGPASSWORD "$(random)"
    secret switchpoint/seaweedfs s3.json "$identities"
    for namespace in switchpoint-jobs kubeflow; do
        secret $namespace/switchpoint-store AWS_ACCESS_KEY_ID "$store_key" AWS_SECRET_ACCESS_KEY "$store_secret"
    done
    secret kubeflow/switchpoint-mlflow MLFLOW_TRACKING_USERNAME switchpoint MLFLOW_TRACKING_PASSWORD "$(random)"
} | kubectl create --filename - --output name
