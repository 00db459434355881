"""The control methods: all calls that are not predictions, written once for every engine."""
