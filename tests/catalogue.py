"A server on 127.0.0.1 that plays the six services of `fastcnn.catalogues`: pages, largest pages, refusals, as each documents them"
import json, math, time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

REPLIES = Path(__file__).parent / 'replies'
PATHS = dict(inaturalist='/v1/observations', artic='/api/v1/artworks/search', smithsonian='/openaccess/api/v1.0/search',
             pexels='/v1/search', pixabay='/api/', flickr='/services/rest/')
SIZES = dict(inaturalist=('per_page', 200), artic=('limit', 100), smithsonian=('rows', 1000), pexels=('per_page', 80),
             pixabay=('per_page', 200), flickr=('per_page', 500)) # the parameter, and the largest page
REFUSALS = dict(smithsonian=(403, 'smithsonian_403.json'), pexels=(401, 'pexels_401.json'), pixabay=(400, 'pixabay_400.txt'),
                flickr=(200, 'flickr_100.json')) # how a key is refused


def recorded(name): return (REPLIES / name).read_bytes()


def row(service, number):
    "One row with one image of its own"
    address = f'https://images.example/{service}/{number}'
    if service == 'inaturalist':
        taxon = {'name': 'Vulpes vulpes', 'iconic_taxon_name': 'Mammalia'}
        return {'uri': f'{address}/page', 'taxon': taxon, 'photos': [{'url': f'{address}/square.jpg', 'license_code': 'cc0'}]}
    if service == 'artic': return {'id': number, 'image_id': f'image-{number}', 'is_public_domain': True}
    if service == 'smithsonian':
        media = {'type': 'Images', 'content': address, 'usage': {'access': 'CC0'}}
        return {'title': 'Telescope', 'content': {'descriptiveNonRepeating': {'online_media': {'media': [media]}}}}
    if service == 'pexels': return {'src': {'large2x': address, 'original': address}, 'photographer': 'Ada'}
    if service == 'pixabay': return {'largeImageURL': address, 'user': 'Ada'}
    return {'url_l': address, 'license': '9', 'owner': '1@N01', 'id': str(number)}


def whole(service, rows, total):
    "A reply of these rows, in the service's shape"
    if service == 'inaturalist': return {'total_results': total, 'results': rows}
    if service == 'artic': return {'data': rows, 'pagination': {'total': total}, 'config': {'iiif_url': 'https://www.artic.edu/iiif/2'}}
    if service == 'smithsonian': return {'response': {'rows': rows, 'rowCount': total}}
    if service == 'pexels': return {'photos': rows, 'total_results': total}
    if service == 'pixabay': return {'hits': rows, 'totalHits': total}
    return {'stat': 'ok', 'photos': {'photo': rows, 'total': str(total)}}


def refusal(service, question, total):
    "(status, body) where a question asks for more than the service gives at a time, or None"
    name, largest = SIZES[service]
    size, page = int(question[name]), int(question.get('page', 1))
    if service == 'artic' and size > largest: return 403, recorded('artic_403.json')
    if service == 'pixabay' and not 3 <= size <= largest: return 400, b'[ERROR 400] "per_page" is out of valid range.'
    if service == 'pixabay' and page > max(1, math.ceil(total/size)): return 400, b'[ERROR 400] "page" is out of valid range.'


class Catalogue(BaseHTTPRequestHandler):
    "The server's attributes: `service`, `total` (rows it has), `asked` (questions so far), `first` ([(status, headers)] before all else)"
    def do_GET(self):
        parts = urlsplit(self.path)
        question = dict(parse_qsl(parts.query))
        self.server.asked.append((question, dict(self.headers)))
        if self.server.slow: time.sleep(self.server.slow)
        if self.server.first: return self.reply(*self.server.first.pop(0))
        if parts.path != PATHS[self.server.service]: return self.reply(404)
        self.reply(*self.answer(question))

    def answer(self, question):
        service, total = self.server.service, self.server.total
        refused = refusal(service, question, total)
        if refused: return refused[0], {}, refused[1]
        name, largest = SIZES[service]
        size = min(int(question[name]), largest)
        start = int(question['start']) if service == 'smithsonian' else (int(question['page']) - 1) * size
        rows = [row(service, number) for number in range(start + 1, min(start + size, total) + 1)]
        return 200, {'Content-Type': 'application/json'}, json.dumps(whole(service, rows, total)).encode()

    def reply(self, status, headers=(), body=b''):
        self.send_response(status)
        for header, value in dict(headers).items(): self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args): pass
