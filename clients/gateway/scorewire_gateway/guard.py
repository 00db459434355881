"""Who may use what the gateway itself offers: jobs, files and records.

The server checks who calls for everything that it answers. The gateway asks it, too, before it answers
from its own disk or database: who the caller of the request is, and which rights this caller has.

- Files, and to see jobs: any right.
- Records of a model: the right to observe it.
- To change jobs of a model, which may become a version of it: the right to control it.

It asks for each request, so that what the server's access file says holds at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from scorewire import AsyncClient, Caller, Code, DeadlineExceededError, UnavailableError
from scorewire_gateway.calls import call_options
from scorewire_gateway.errors import RequestError
from scorewire_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Rights:
    """What the caller of a request may do.

    Attributes:
        caller: who calls; None if everybody may do all.
    """

    caller: Caller | None

    def has(self, right: Literal["observe", "control"], model: str) -> bool:
        """Whether the caller has a right to a model, which need not exist."""
        return self.caller is None or self.caller.may(right, model)

    def check(self, right: Literal["observe", "control"], model: str = "") -> None:
        """Check that the caller has a right to a model; without a model, to any.

        Raises:
            RequestError: it has not.
        """
        if not (self.has(right, model) if model else self.caller is None or getattr(self.caller, right)):
            raise RequestError(
                f"the caller has no right to {right} {f'the model {model!r}' if model else 'any model'}",
                code=Code.PERMISSION_DENIED,
                reason="PERMISSION_DENIED",
            )


class Guard:
    """Asks the server about the caller of a request.

    Args:
        client: the client of the server.
        settings: the settings of the gateway; the server is not asked if `server_access` is off.
    """

    def __init__(self, client: AsyncClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings

    async def rights(self, request: Request) -> Rights:
        """The rights of a request's caller, which has at least one.

        Raises:
            ScorewireError: the server does not take the caller's credential, or gives it no right at all.
            RequestError: the server does not answer.
        """
        if self._settings.server_access == "off":
            return Rights(None)
        options = call_options(request, self._settings)
        try:
            return Rights((await self._client.server(**options)).caller)
        except (UnavailableError, DeadlineExceededError) as error:
            raise RequestError(
                "the scoring server tells who may do this, and it does not answer now",
                code=Code.UNAVAILABLE,
                reason="SERVER_UNAVAILABLE",
            ) from error
