"""The rules that translate fitted steps and models, one module for each kind.

A module registers its rules when it is imported, by `lowers_step` and
`lowers_model` of `lowering.registry`. Every module of this folder is imported
here: a new estimator is a new module and nothing else.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
