"""What would break the promises, tried: processes killed, streams permuted, answers lost. See README.md."""
