"""The dashboards for Grafana, as Python; `python -m deploy.grafana.definitions` writes their JSON."""
