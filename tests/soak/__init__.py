"""The soak: services under random faults, judged by ledgers of their own.

`make soak`, or `python -m tests.soak --minutes 2`. `scenario` runs the processes of `worker` and
heals what `chaos` broke; each process writes a `ledger`; `streams` reads what the servers hold, and
`judge` compares. What is promised, and what counts as broken, stands in `judge`.
"""
