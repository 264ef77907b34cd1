"""The commands of `varco nats` and `varco lab`, which `python -m varco_nats` has too.

A module for each group of commands. What is heavy is imported when a command runs, so that
`varco --help` stays quick.
"""
