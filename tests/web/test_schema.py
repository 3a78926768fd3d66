"""The API against its own OpenAPI document, with made-up requests (schemathesis)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

import handmade
import servers
from pixtag.store import Store
from pixtag.types import Post


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("server")
    with Store.open(folder / "s.sqlite", create=True) as store:
        posts = [Post(f"{user}-{i}", user, 1e9 + i, ("sky",)) for user in "abc" for i in range(3)]
        store.add_posts(posts)
    bundle = handmade.bundle_file(folder / "bundle")
    with servers.running(folder / "s.sqlite", "--model", bundle, "--rate", 10**6) as server:
        yield schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")


PATHS = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_described(schema, path: str, method: str) -> None:
    @given(case=schema[path][method].as_strategy())
    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    def check(case) -> None:
        # Some bounds, as those of times, are beyond what a schema can say.
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    check()
