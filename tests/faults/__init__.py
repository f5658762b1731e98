"""Faults and hostile input: the tests of the promise in README.md."""
