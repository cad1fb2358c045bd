"""The API's description of itself is whole and true, so that it can be read, tried out, and generated from."""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from tollhouse_server.domain.scopes import OF_PROJECTS

Operation = dict[str, Any]


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, Operation]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def valid(openapi: dict[str, Any], schema: dict[str, Any], example: object) -> list[str]:
    validator = Draft202012Validator({**schema, "components": openapi["components"]})
    return [error.message for error in validator.iter_errors(example)]


def test_operation_ids_are_readable_and_unique(openapi: dict[str, Any]) -> None:
    """They become the names of functions in generated clients."""
    ids = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(set(ids)) == len(ids)
    assert [one for one in ids if not re.fullmatch(r"[a-z]+(_[a-z]+){0,4}", one) or "_v1_" in one] == []


def test_every_operation_says_what_it_is_for(openapi: dict[str, Any]) -> None:
    """A summary that is no sentence about code, a description, and a group in the table of contents."""
    for name, operation in operations(openapi):
        assert operation.get("summary") and operation.get("description") and operation.get("tags"), name


def test_every_json_answer_has_an_example_of_its_form(openapi: dict[str, Any]) -> None:
    """Each success is shown, and what is shown is possible."""
    for name, operation in operations(openapi):
        for status, answer in operation["responses"].items():
            shown = answer.get("content", {}).get("application/json")
            if shown is not None:
                assert "example" in shown, f"{name} {status}"
                assert valid(openapi, shown["schema"], shown["example"]) == [], f"{name} {status}"


def test_every_error_is_a_problem_and_names_its_codes(openapi: dict[str, Any]) -> None:
    """What is documented for a status is what is answered; who must authenticate may fail to."""
    for name, operation in operations(openapi):
        errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        if operation.get("security"):
            assert {"401", "503"} <= set(errors), name
        if "requestBody" in operation and operation.get("security"):
            assert {"400", "415", "422"} <= set(errors), name
        for status, answer in errors.items():
            if name == "GET /readyz":
                continue  # its 503 is the answer to the question, for machines that only look at the status
            assert answer["content"] == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}
            }, f"{name} {status}"
            assert re.match(r"`[a-z-]+`: .", answer["description"]), f"{name} {status}"


def test_every_reference_leads_somewhere(openapi: dict[str, Any]) -> None:
    """And every schema is used."""
    schemas = openapi["components"]["schemas"]
    used = set(re.findall(r"'#/components/schemas/(\w+)'", str(openapi)))
    assert used == set(schemas)
    problem = schemas["ProblemBody"]
    assert valid(openapi, problem, problem["example"]) == []


def test_the_examples_of_fields_are_of_their_form(openapi: dict[str, Any]) -> None:
    """Whoever tries a call out in the browser starts from something that works."""
    for schema_name, schema in openapi["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            for example in field.get("examples", []):
                assert valid(openapi, field, example) == [], f"{schema_name}.{name}"


def test_every_call_of_a_project_names_its_scope(openapi: dict[str, Any]) -> None:
    """One scope, which its key must have, and the answer to a key without it."""
    needed = {}
    for name, operation in operations(openapi):
        for scopes in [one["ProjectKey"] for one in operation.get("security", []) if "ProjectKey" in one]:
            assert len(scopes) == 1 and scopes[0] in OF_PROJECTS, name
            assert "`insufficient-scope`" in operation["responses"]["403"]["description"], name
            needed[name] = scopes[0]
    assert set(needed.values()) >= {"check", "checkout"}
    assert {scope for name, scope in needed.items() if re.search(r"/(checkouts|portal-sessions|sync)", name)} == {
        "checkout"
    }
