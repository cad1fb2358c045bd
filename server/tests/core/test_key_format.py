"""A key looks as the reference publishes it, and every scanner's rule finds it."""

import random
import re
import tomllib
import zlib
from pathlib import Path

import pytest
import yaml

from tollhouse_server.key_format import PATTERN, PUBLISHED, Kind, keys_in, make_key, parse_key

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/keys.md").read_text()
SCANNING = ROOT / "deploy/secret-scanning"

VECTORS = {parsed.kind: key for key in PUBLISHED if (parsed := parse_key(key))}


def rules() -> dict[str, dict[Kind, str]]:
    """Each scanner's regular expression for each kind of key."""
    gitleaks = tomllib.loads((SCANNING / "gitleaks.toml").read_text())["rules"]
    trufflehog = yaml.safe_load((SCANNING / "trufflehog.yaml").read_text())["detectors"]
    github = yaml.safe_load((SCANNING / "github-custom-patterns.yaml").read_text())
    each = {
        "gitleaks": [one["regex"] for one in gitleaks],
        "trufflehog": [one["regex"]["key"] for one in trufflehog],
        "github": [one["secret_format"] for one in github],
    }
    return {name: dict(zip(Kind, regexes, strict=True)) for name, regexes in each.items()}


RULES = rules()


@pytest.mark.parametrize("kind", Kind)
def test_the_published_form_is_the_form(kind: Kind) -> None:
    """The pattern and the two keys in the reference are those of the code; the snippet there agrees about them."""
    assert f"\n{PATTERN.pattern}\n" in PAGE
    assert f"`{VECTORS[kind]}`" in PAGE
    parsed = parse_key(VECTORS[kind])
    assert parsed is not None and parsed.kind is kind and set(VECTORS) == set(Kind)
    snippet = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert snippet is not None
    scope: dict[str, object] = {}
    exec(snippet[1], scope)
    is_real = scope["is_real"]
    assert callable(is_real) and is_real(VECTORS[kind]) and not is_real(VECTORS[kind][:-1] + "z")


@pytest.mark.parametrize("kind", Kind)
def test_a_key_is_told_from_what_looks_like_one(kind: Kind) -> None:
    """Every change of one character, and every cut, makes it none."""
    chance = random.Random(7)
    for _ in range(20):
        key = make_key(kind)
        parsed = parse_key(key)
        assert parsed is not None and parsed.kind is kind and key.startswith(f"{kind}_{parsed.id}_")
        assert key[-8:] == f"{zlib.crc32(key[:-8].encode()):08x}"
        for place in range(len(key)):
            other = chance.choice([one for one in "aZ09_é" if one != key[place]])
            assert parse_key(key[:place] + other + key[place + 1 :]) is None
        assert all(parse_key(wrong) is None for wrong in (key[:-1], key + "0", f" {key}", key.upper(), f"{key}\n", ""))
    assert len({make_key(kind) for _ in range(100)}) == 100


def test_keys_are_found_wherever_they_stand() -> None:
    """In quotes, a URL, a line of code, hard against other words, several in a line.

    Near misses are passed over, and so are the published ones.
    """
    keys = [make_key(kind) for kind in Kind for _ in range(3)]
    text = f'KEY="{keys[0]}"\ncurl https://x/?k={keys[1]}&y {keys[2]}{keys[3]},\n_{keys[4]}_ tollhouse_{keys[5]}\n'
    near = "".join(f"{key[:-8]}{'0' * 8} {key[:-1]} {key.lower()[:20]}\n" for key in keys)
    assert list(keys_in(text + near)) == keys
    assert list(keys_in(near)) == list(keys_in(PAGE)) == []


@pytest.mark.parametrize("scanner", RULES)
def test_every_scanners_rule_finds_every_key(scanner: str) -> None:
    """In the syntax that these scanners share with Python; each kind by its own rule, and nothing that is no key."""
    for kind, regex in RULES[scanner].items():
        rule = re.compile(regex)
        other = next(one for one in Kind if one is not kind)
        for _ in range(50):
            key = make_key(kind)
            found = rule.search(f'KEY = "{key}" # set it')
            assert found is not None and found[0] == key
            assert rule.search(make_key(other)) is None
            # Without the end, with another prefix, in the elided form of the docs, with a shorter secret.
            for near in (key[:-1], key.replace("tollhouse", "tollgate"), f"{key[:20]}…", key[:30] + key[40:]):
                assert rule.search(near) is None, near
        assert not re.search(r"\\[bBdwsAZ]|\(\?[=!<]", regex), "what not every engine has"


def test_what_surrounds_a_key_is_no_obstacle_to_github() -> None:
    """GitHub asks for what stands before and behind; a key is at a line's ends, in quotes, or after an equals sign."""
    for one in yaml.safe_load((SCANNING / "github-custom-patterns.yaml").read_text()):
        before, after = one["before_secret"], one["after_secret"].replace(r"\z", r"\Z")
        whole = re.compile(f"(?:{before})({one['secret_format']})(?:{after})")
        for around in ("{}", "'{}'", "KEY={}\n", "x: {},"):
            found = whole.search(around.format(one["test_string"]))
            assert found is not None and found[1] == one["test_string"] in VECTORS.values()


def test_gitleaks_passes_the_published_keys_over() -> None:
    """They open nothing, and whoever copies the reference should not be alarmed."""
    [allowed] = tomllib.loads((SCANNING / "gitleaks.toml").read_text())["allowlists"]
    for key in VECTORS.values():
        assert any(re.search(regex, key) for regex in allowed["regexes"])
    assert not any(re.search(regex, make_key(Kind.PROJECT)) for regex in allowed["regexes"])
