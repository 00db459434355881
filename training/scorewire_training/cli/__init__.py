"""The subcommands `scorewire train`, `export` and `verify`."""
