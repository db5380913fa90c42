"""Google Cloud Storage on loopback, in memory, for tests.

As much of its JSON API as gcsfs, TensorStore and Orbax use, and what emulators
leave out: writes with a precondition on the generation, atomic. It can be told
to refuse.
"""

import contextlib
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse

BUCKET = 'bucket'


class Server(http.server.ThreadingHTTPServer):
  """Serves one bucket, until it is closed.

  Attributes:
    objects: generation and content of each, by name.
    status: what every request is answered with, such as 503; None serves.
    write_status: the same for requests to write or delete.
    lose_every: of so many writes one is done and answered with 503.
    refused: requests that were answered with `status`.
  """

  daemon_threads = True
  request_queue_size = 64

  def __init__(self):
    super().__init__(('127.0.0.1', 0), _Handler)
    self.lock = threading.Lock()
    self._generations = itertools.count(1)
    self._over = threading.Timer(0, lambda: None)
    self.clear()
    threading.Thread(target=self.serve_forever, daemon=True).start()

  def clear(self):
    """As it was at the start."""
    self._over.cancel()
    self.objects: dict[str, tuple[int, bytes]] = {}
    self.uploads: dict[str, tuple[str, bytearray]] = {}
    self.status: int | None = None
    self.write_status: int | None = None
    self.lose_every: int | None = None
    self.written, self.refused = 0, 0
    self._outage: tuple[str, float, int] | None = None

  def fail(self, name, seconds, status=503):
    """Refuses all for so long, once an object has been written."""
    self._outage = name, seconds, status

  def handle_error(self, *unused):
    # Clients may go away in the middle of an answer.
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(*unused)

  @property
  def url(self):
    return f'http://127.0.0.1:{self.server_port}'

  def names(self, prefix=''):
    with self.lock:
      return sorted(name for name in self.objects if name.startswith(prefix))

  def content(self, name):
    return self.objects[name][1]

  def put(self, name, content, expected=None):
    """Writes an object; False where it is not of the generation expected."""
    with self.lock:
      generation, _ = self.objects.get(name, (0, b''))
      if expected is not None and generation != int(expected):
        return False
      self.objects[name] = next(self._generations), bytes(content)
    if self._outage and name == self._outage[0]:
      _, seconds, self.status = self._outage
      self._outage = None
      self._over = threading.Timer(seconds, setattr, (self, 'status', None))
      self._over.daemon = True
      self._over.start()
    return True

  def loses(self):
    """Whether the answer to the next write is lost."""
    with self.lock:
      self.written += 1
      return self.lose_every and self.written % self.lose_every == 0

  def delete(self, name, expected=None):
    """Deletes an object; a status of HTTP."""
    with self.lock:
      if name not in self.objects:
        return 404
      if expected is not None and self.objects[name][0] != int(expected):
        return 412
      del self.objects[name]
      return 204


def env(url):
  """Variables that lead the clients in a process to a server."""
  return {
    'STORAGE_EMULATOR_HOST': url,
    'TENSORSTORE_GCS_HTTP_URL': url,
    'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'none',
    'NO_GCE_CHECK': 'true',
    'GOOGLE_CLOUD_PROJECT': 'project',
  }


@contextlib.contextmanager
def serving():
  """A server for as long as it is needed."""
  server = Server()
  try:
    yield server
  finally:
    server.shutdown()
    server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers one connection."""

  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True

  def log_message(self, *unused):
    pass

  def do_GET(self):
    self._answer(self._get)

  def do_POST(self):
    self._answer(self._post)

  do_PUT = do_POST

  def do_DELETE(self):
    self._answer(self._delete)

  def _answer(self, method):
    size = int(self.headers.get('Content-Length') or 0)
    self.body = self._chunks() if self._chunked() else self.rfile.read(size)
    url = urllib.parse.urlsplit(self.path)
    self.query = dict(urllib.parse.parse_qsl(url.query))
    status = self.server.status
    if self.command != 'GET':
      status = status or self.server.write_status
    if status:
      self.server.refused += 1
      self._send(status, _error(status))
      return
    match = re.fullmatch(
      r'(/upload|/download)?(?:/storage/v1)?/b/([^/]+)(?:/o(?:/(.*))?)?',
      url.path,
    )
    if match is None or match[2] != BUCKET:
      self._send(404, _error(404))
      return
    listing = '/o' in url.path[len(match[1] or '') :]
    name = match[3] and urllib.parse.unquote(match[3])
    method(name, listing)

  def _chunked(self):
    return self.headers.get('Transfer-Encoding') == 'chunked'

  def _chunks(self):
    body = b''
    while size := int(self.rfile.readline(), 16):
      body += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return body

  def _get(self, name, listing):
    if name is None:
      bucket = {'kind': 'storage#bucket', 'name': BUCKET}
      self._send(200, self._list() if listing else bucket)
      return
    generation, content = self.server.objects.get(name, (0, b''))
    if not generation:
      self._send(404, _error(404))
    elif str(generation) == self.query.get('ifGenerationNotMatch'):
      self._send(304)
    elif self.query.get('ifGenerationMatch') not in (None, str(generation)):
      self._send(412, _error(412))
    elif self.query.get('alt') == 'media':
      self._media(generation, content)
    else:
      self._send(200, _metadata(name, generation, content))

  def _media(self, generation, content):
    headers = {'x-goog-generation': str(generation)}
    found = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or '')
    if found is None:
      self._send(200, content, headers)
      return
    first, size = int(found[1]), len(content)
    if first >= size:
      self._send(416, _error(416))
      return
    last = min(int(found[2] or size - 1), size - 1)
    headers['Content-Range'] = f'bytes {first}-{last}/{size}'
    self._send(206, content[first : last + 1], headers)

  def _list(self):
    prefix = self.query.get('prefix', '')
    start, end = self.query.get('startOffset', ''), self.query.get('endOffset')
    delimiter = self.query.get('delimiter')
    items, prefixes = [], set()
    for name in self.server.names(prefix):
      if name < start or (end and name >= end):
        continue
      rest = name[len(prefix) :]
      if delimiter and delimiter in rest:
        prefixes.add(prefix + rest[: rest.index(delimiter) + 1])
      else:
        items.append(_metadata(name, *self.server.objects[name]))
    return {
      'kind': 'storage#objects',
      'items': items,
      'prefixes': sorted(prefixes),
    }

  def _post(self, name, listing):
    kind = self.query.get('uploadType')
    content, name = self.body, self.query.get('name')
    if kind == 'multipart':
      name, content = self._parts()
    elif kind == 'resumable' and 'upload_id' not in self.query:
      number = str(len(self.server.uploads))
      self.server.uploads[number] = name, bytearray()
      where = f'{self.server.url}{self.path}&upload_id={number}'
      self._send(200, {}, {'Location': where})
      return
    elif kind == 'resumable':
      name, content = self.server.uploads[self.query['upload_id']]
      first, size = re.fullmatch(
        r'bytes (\d+|\*)(?:-\d+)?/(\d+|\*)', self.headers['Content-Range']
      ).groups()
      if first != '*':
        content[int(first) :] = self.body
      if size != str(len(content)):
        self._send(308, None, {'Range': f'bytes=0-{len(content) - 1}'})
        return
    if not self.server.put(name, content, self.query.get('ifGenerationMatch')):
      self._send(412, _error(412))
    elif self.server.loses():
      self._send(503, _error(503))
    else:
      self._send(200, _metadata(name, *self.server.objects[name]))

  def _parts(self):
    """Name and content of an upload in two parts."""
    head = self.headers['Content-Type']
    boundary = re.search(r'boundary="?([^"]+)"?', head)[1].encode()
    _, about, rest = self.body.split(b'--' + boundary, 2)
    name = json.loads(about.split(b'\n\n', 1)[1])['name']
    content = rest.split(b'\n\n', 1)[1]
    return name, content[: content.rindex(b'\n--' + boundary)]

  def _delete(self, name, listing):
    expected = self.query.get('ifGenerationMatch')
    status = self.server.delete(name, expected)
    self._send(status, None if status == 204 else _error(status))

  def _send(self, status, content=None, headers=()):
    kind = 'application/octet-stream'
    if isinstance(content, dict):
      kind, content = 'application/json', json.dumps(content).encode()
    self.send_response(status)
    for key, value in dict(headers).items():
      self.send_header(key, value)
    self.send_header('Content-Type', kind)
    self.send_header('Content-Length', str(len(content or b'')))
    self.end_headers()
    self.wfile.write(content or b'')


def _metadata(name, generation, content):
  return {
    'kind': 'storage#object',
    'bucket': BUCKET,
    'name': name,
    'size': str(len(content)),
    'generation': str(generation),
    'metageneration': '1',
  }


def _error(status):
  return {'error': {'code': status, 'message': f'status {status}, they say'}}
