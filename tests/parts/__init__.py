"""The real things that tests and benchmarks work with: registries, engines, a slow link.

Each is a context manager around a real process or socket, listens where the kernel says, and is
ended by its own id. They block: start them and ask them before the async code that is measured,
or from a thread.
"""
