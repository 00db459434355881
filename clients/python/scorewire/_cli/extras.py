"""The optional dependencies of the commands, which users install as extras of the SDK."""

from __future__ import annotations

from importlib.util import find_spec

import click

# Extra: the modules that it installs, as in pyproject.toml.
_MODULES = {"models": ("rich", "scipy"), "pandas": ("pandas", "pyarrow", "rich")}


def require_extra(extra: str) -> None:
    """Check that the modules of an extra can be imported.

    Raises:
        ClickException: a module is missing; the message says how to install it.
    """
    missing = [name for name in _MODULES[extra] if find_spec(name) is None]
    if missing:
        raise click.ClickException(f"{', '.join(missing)} not installed: pip install 'scorewire[{extra}]'")
