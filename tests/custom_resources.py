"""Custom resources against their definitions, offline: also fields that the definition does not know."""

from typing import Any

from openapi_schema_validator import OAS30Validator

from tests.kube import crd


def problems(resource: dict[str, Any], definition: str) -> list[str]:
    """What `definition`, such as `batch.volcano.sh_jobs`, refuses. Skips where there are no definitions."""
    spec = crd(definition)["spec"]
    assert resource["apiVersion"] == f"{spec['group']}/{spec['versions'][0]['name']}"
    assert resource["kind"] == spec["names"]["kind"]
    schema = _closed(spec["versions"][0]["schema"]["openAPIV3Schema"])
    body = {name: value for name, value in resource.items() if name != "metadata"} | {"metadata": {}}
    return [f"{'.'.join(map(str, one.path))}: {one.message}" for one in OAS30Validator(schema).iter_errors(body)]


def _closed(schema: Any) -> Any:
    """Refuses fields that are not named, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(one) for name, one in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    elif isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed
