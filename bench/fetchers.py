"""One downloader at work: `python bench/fetchers.py TOOL URLS FOLDER` fetches the addresses in the file URLS and prints the seconds it took.

Each tool is called as its documentation shows, with its own defaults where nothing else is said; imports are not timed.
"""
import asyncio, io, json, sys, time
from pathlib import Path


def fastcnn(urls, folder):
    "fetch_images with its defaults"
    from fastcnn.core import ImageResult
    from fastcnn.download import fetch_images
    hosts = [f'127.0.0.{i}' for i in range(1, 17)]
    return lambda: fetch_images([ImageResult(url, label='x') for url in urls], folder/'images', allow_hosts=hosts)


def aiohttp_loop(urls, folder):
    "A plain loop with the same caps that writes each file and decodes it in a thread: the bar to reach"
    import aiohttp
    from concurrent.futures import ThreadPoolExecutor
    from fastcnn.download import Limits
    from PIL import Image
    limits, pool = Limits(), ThreadPoolExecutor(2)
    def keep(number, data):
        Image.open(io.BytesIO(data)).load()
        (folder/f'{number}.jpg').write_bytes(data)
    async def fetch(session, number, url):
        async with session.get(url) as reply: data = await reply.read()
        await asyncio.get_running_loop().run_in_executor(pool, keep, number, data)
    async def fetch_all():
        connector = aiohttp.TCPConnector(limit=limits.concurrency, limit_per_host=limits.per_host)
        async with aiohttp.ClientSession(connector=connector) as session: await asyncio.gather(*(fetch(session, *pair) for pair in enumerate(urls)))
    return lambda: asyncio.run(fetch_all())


def fastai(urls, folder):
    "download_images with 8 threads, its default on 8 cores and more"
    from fastai.vision.utils import download_images
    return lambda: download_images(folder, urls=urls, n_workers=8)


def jmd_imagescraper(urls, folder):
    "The part of duckduckgo_search that downloads"
    from jmd_imagescraper.core import download_urls
    return lambda: download_urls(folder, urls)


def icrawler(urls, folder):
    "UrlListCrawler with 8 threads"
    import logging
    from icrawler.builtin import UrlListCrawler
    (folder/'urls.txt').write_text('\n'.join(urls))
    crawler = UrlListCrawler(downloader_threads=8, storage={'root_dir': str(folder/'images')}, log_level=logging.ERROR)
    return lambda: crawler.crawl(str(folder/'urls.txt'), max_num=len(urls))


def img2dataset(urls, folder, **options):
    "download with its defaults: one process, 256 threads, images resized to 256 pixels"
    import os
    os.environ['NO_ALBUMENTATIONS_UPDATE'] = '1' # or it asks the web for updates
    from img2dataset import download
    (folder/'urls.txt').write_text('\n'.join(urls))
    return lambda: download(url_list=str(folder/'urls.txt'), output_folder=str(folder/'images'), **options)


def img2dataset_raw(urls, folder):
    "The same without decoding: files are stored as they came"
    return img2dataset(urls, folder, disable_all_reencoding=True)


TOOLS = (fastcnn, aiohttp_loop, fastai, icrawler, img2dataset, img2dataset_raw, jmd_imagescraper)

if __name__ == '__main__':
    name, listed, folder = sys.argv[1:]
    work = {tool.__name__: tool for tool in TOOLS}[name](Path(listed).read_text().split(), Path(folder))
    start = time.perf_counter()
    work()
    print('\n' + json.dumps(time.perf_counter() - start)) # a line of its own, after whatever the tool printed
