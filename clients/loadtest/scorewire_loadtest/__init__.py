"""A load generator for prediction servers.

`pacing` tells when calls are due. `attack` makes the calls through a `transport`.
`results` gathers how they ended, `slo` checks objectives, and `report` and `plot`
present the results.
"""
