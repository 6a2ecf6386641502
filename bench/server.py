"""The files of a folder over HTTP on 16 loopback hosts, each reply 50 ms late: a stand-in for the many hosts of a real search.

    python bench/server.py FOLDER     prints its port; GET /stats gives and forgets the most connections that a host has seen
"""
import asyncio, sys
from collections import Counter
from pathlib import Path

from aiohttp import web

HOSTS, LATENCY = [f'127.0.0.{i}' for i in range(1, 17)], 0.05 # seconds


class CountingServer(web.Server):
    "Counts the connections that are open at a time, host by host"
    def __init__(self, handler):
        super().__init__(handler)
        self.open, self.most, self.hosts = Counter(), Counter(), {}

    def connection_made(self, handler, transport):
        super().connection_made(handler, transport)
        host = self.hosts[handler] = transport.get_extra_info('sockname')[0]
        self.open[host] += 1
        self.most[host] = max(self.most[host], self.open[host])

    def connection_lost(self, handler, error=None):
        self.open[self.hosts.pop(handler)] -= 1
        super().connection_lost(handler, error)


async def serve(folder):
    files = {f'/{path.name}': path.read_bytes() for path in Path(folder).iterdir()}
    async def answer(request):
        if request.path == '/stats':
            most = max(server.most.values(), default=0)
            server.most = Counter(server.open)
            return web.json_response(most)
        await asyncio.sleep(LATENCY)
        if request.path not in files: return web.Response(status=404)
        return web.Response(body=files[request.path], content_type='image/jpeg')
    server = CountingServer(answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    port = 0
    for host in HOSTS:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == '__main__': asyncio.run(serve(sys.argv[1]))
