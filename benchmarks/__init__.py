"""Speed, as ratios: `python -m benchmarks` runs all, `python -m benchmarks.check` one. See README.md."""
