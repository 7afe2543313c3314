"""The Ray engine on a cluster of two workers on this machine."""

import warnings

import pytest

from criinet.benchmarking import benchmark, cluster
from criinet.errors import ConfigError


@pytest.mark.slow
@pytest.mark.timeout(600)  # Ray gives its workers what others leave of a busy machine.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_ray_finds_what_one_process_finds(benched, tiny, table, tmp_path, monkeypatch):
    """Two runs on two workers give the table of the local engine."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        benchmark(tiny(), tmp_path / "bench", device="cpu", jobs=2, engine="ray")
    assert table(tmp_path / "bench") == table(benched)


def test_a_missing_ray_is_named(tiny, tmp_path, monkeypatch):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(cluster, "import_module", missing)
    with pytest.raises(ConfigError, match=r"install it with pip install 'criinet\[cluster\]'"):
        benchmark(tiny(), tmp_path / "bench", device="cpu", engine="ray")
