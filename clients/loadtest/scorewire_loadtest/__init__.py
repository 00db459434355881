"""A load generator for scoring servers.

The parts are pure where they can be: `pacing` says when calls are due,
`attack` makes them through a `transport`, `results` gathers what came back,
`slo` judges it, `report` and `plot` show it.
"""
