"""Other packages' own tests, run against ours: those of varco-core, varco-nats, varco-kafka and
varco-redis.

`python -m tests.conformance` fetches the source distributions that `requirements.txt` pins, keeps
them in a cache folder, and runs their tests in processes of their own, where `stand_ins` takes the
place of what they import. `exceptions.toml` says which tests do not apply, and why.
"""
