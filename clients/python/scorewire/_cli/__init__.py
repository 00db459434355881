"""The subcommands that the SDK adds to `scorewire`: predict, models and proto."""
