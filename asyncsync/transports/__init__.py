"""How a job is done: each transport is a `Copy`, as the scheduler sees it."""
