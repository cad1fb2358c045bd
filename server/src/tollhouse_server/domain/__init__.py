"""The rules of money and access: pure functions of values and an instant. README.md tells them in prose."""
