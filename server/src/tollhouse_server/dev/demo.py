"""Registers the demo's two apps with the service, as an operator would: project, catalog, key."""

import tomllib
from pathlib import Path

import httpx

_OPERATOR = "tollhouse dev"


def register(service: str, admin_key: str, catalog_files: list[Path], origin: str, keys: dict[str, str]) -> None:
    """Publish the catalogs with the demo's `origin` as the only redirect origin, and put a key per project in `keys`.

    A key that is in `keys` and still accepted stays. Raises httpx.HTTPStatusError.
    """
    headers = {"Authorization": f"Bearer {admin_key}", "Tollhouse-Operator": _OPERATOR}
    with httpx.Client(base_url=service, headers=headers, timeout=60) as operator:
        for file in catalog_files:
            catalog = tomllib.loads(file.read_text()) | {"redirect_origins": [origin]}
            slug = catalog["project"]
            project = {"slug": slug, "name": catalog.get("name", slug), "redirect_origins": [origin]}
            answer = operator.post("/v1/admin/projects", json=project)
            if answer.status_code != httpx.codes.CONFLICT:  # registered by an earlier run
                answer.raise_for_status()
            moves = {"existing": "move"}  # who holds a product of the demo gets what its file says now
            operator.put(f"/v1/admin/projects/{slug}/catalog", json=catalog, params=moves).raise_for_status()
            if slug not in keys or not _is_accepted(service, keys[slug]):
                answer = operator.post(f"/v1/admin/projects/{slug}/keys", json={"name": _OPERATOR})
                keys[slug] = answer.raise_for_status().json()["key"]


def environment(service: str, origin: str, keys: dict[str, str]) -> dict[str, str]:
    """What the demo is told."""
    names = {slug: f"TOLLHOUSE_API_KEY_{slug.upper().replace('-', '_')}" for slug in keys}
    return {"TOLLHOUSE_URL": service, "DEMO_URL": origin} | {names[slug]: key for slug, key in keys.items()}


def _is_accepted(service: str, key: str) -> bool:
    answer = httpx.get(f"{service}/v1/catalog", headers={"Authorization": f"Bearer {key}"}, timeout=10)
    return answer.status_code == httpx.codes.OK
