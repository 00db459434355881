"""Who may use what the gateway itself offers: jobs, files and records.

The server checks who calls for everything that it answers. With `--server-access on`, it is also asked
before the gateway answers from its own disk or database, with the credential of the request:

- Files, and to see jobs: any right.
- Records of a model: the right to observe it, asked for by its statistics.
- To change jobs of a model, which may become a version of it: the right to control it. It is asked for by the
  removal of an alias that cannot exist, which changes nothing.
"""

from __future__ import annotations

from starlette.requests import Request

from scorewire import AsyncClient, FailedPreconditionError, InvalidArgumentError, NotFoundError
from scorewire_gateway.calls import call_options
from scorewire_gateway.settings import Settings

# No model has an alias of this name.
_NO_ALIAS = ""


class Guard:
    """Asks the server about the caller of a request; each method raises the server's refusal.

    Args:
        client: the client of the server.
        settings: the settings of the gateway; the server is asked if `server_access` is on.
    """

    def __init__(self, client: AsyncClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._is_on = settings.server_access == "on"

    async def check_known(self, request: Request) -> None:
        """Check that the caller has any right.

        Raises:
            ScorewireError: the caller has none, or the server does not answer.
        """
        if self._is_on:
            await self._client.server(**call_options(request, self._settings))

    async def check_control(self, request: Request, model: str) -> None:
        """Check that the caller may change a model, which need not exist.

        Raises:
            ScorewireError: the caller may not, or the server does not answer.
        """
        if self._is_on:
            try:
                await self._client.delete_alias(model, _NO_ALIAS, **call_options(request, self._settings))
            except (NotFoundError, FailedPreconditionError, InvalidArgumentError):
                return

    async def observed(self, request: Request, model: str) -> frozenset[str] | None:
        """The models whose records the caller may see, among those that serve; None for all.

        Args:
            request: the request.
            model: one model, which the caller must be allowed to observe; "" for all that it may.

        Raises:
            ScorewireError: the caller may not, or the server does not answer.
        """
        if not self._is_on:
            return None
        found = await self._client.statistics(model, **call_options(request, self._settings))
        return frozenset({each.model for each in found} | ({model} if model else set()))
