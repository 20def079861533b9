"""The providers' own paths: a client changes its base URL, and nothing else."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from tenantry.cache.sites import ByKey, ByPath
from tenantry.services.caching import embeddings, forms, proxying
from tenantry.services.caching.forms import Form
from tenantry.services.caching.proxying import Proxy, Reply, Served

router = APIRouter()


def _route(form: Form) -> Callable[[Request, Served], Awaitable[StreamingResponse]]:
    async def answer(request: Request, served: ByKey) -> StreamingResponse:
        proxy: Proxy = request.app.state.proxy
        return _sent(await proxy.answer(served, form, await _read(request)))

    return answer


for _form in (forms.CHAT, forms.RESPONSES, forms.MESSAGES):
    router.add_api_route(_form.path, _route(_form), methods=["POST"], response_model=None)


@router.post(embeddings.PATH)
async def embed(request: Request, served: ByKey) -> StreamingResponse:
    """Answer as OpenAI does; texts that are stored do not go to the provider."""
    proxy: Proxy = request.app.state.proxy
    return _sent(await proxy.embed(served, await _read(request)))


@router.post("/v1/caches/{site_id}/embeddings")
async def embed_of_site(request: Request, served: ByPath) -> StreamingResponse:
    """As /v1/embeddings, by the path of a site."""
    return await embed(request, served)


async def _read(request: Request) -> proxying.Request:
    return proxying.Request(await request.body(), dict(request.headers))


def _sent(reply: Reply) -> StreamingResponse:
    headers = {**reply.headers, "x-cache": reply.cached}
    return StreamingResponse(reply.body, status_code=reply.status, headers=headers)
