"""Servers behind DNS round robin, in network namespaces: two, then four, then two again, under load.

- `network`: namespaces that are joined by a bridge; they end with the processes in them.
- `names`: a DNS server whose answers change.
- `client`: a process that calls through the SDK at a steady rate, and counts what fails.
- `run`: a run, and how evenly the rows were spread over the servers.
"""
