"""What a run of `tollhouse dev` leaves for the next."""

from pathlib import Path

from tollhouse_server.dev.kept import Kept


def test_the_next_run_has_the_same_secrets(tmp_path: Path) -> None:
    """Keys and the webhook secret survive, in a file that only its owner can read."""
    first = Kept.load(tmp_path)
    first.project_keys["pdf-tool"] = "tollhouse_x"
    first.webhook_endpoint, first.webhook_secret = "we_1", "whsec_1"
    first.save(tmp_path)
    assert Kept.load(tmp_path) == first
    assert [file.stat().st_mode & 0o777 for file in tmp_path.iterdir()] == [0o600]


def test_each_data_directory_has_its_own_operator_key(tmp_path: Path) -> None:
    """A key that is made is long and never the same."""
    one, other = Kept.load(tmp_path), Kept.load(tmp_path)
    assert one.admin_api_key != other.admin_api_key
    assert len(one.admin_api_key) >= 24
