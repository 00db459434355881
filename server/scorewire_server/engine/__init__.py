"""The engines, which answer calls. `port` is the interface that the control plane sees."""
