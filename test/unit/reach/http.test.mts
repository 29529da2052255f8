import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { get, isOpen, type GetOptions } from '../../../lib/reach/http.mts'

// A server on 127.0.0.1 for as long as a request takes; what it received is returned beside the answer.
const ask = async (serve: (socket: Socket, received: string) => void, options: GetOptions = {}) => {
  let received = ''
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (data: Buffer) => {
      received += data.toString()
      if (received.endsWith('\r\n\r\n')) serve(socket, received)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const answer = await get('127.0.0.1', { timeout: 2000, ...options, port })
  for (const socket of sockets) socket.destroy()
  server.close()
  const { milliseconds, ...rest } = answer
  return { answer: rest, milliseconds, received, port }
}

const reply = (text: string) => (socket: Socket): void => void socket.end(text)

test('a status and a body of a given length, though the connection stays open', async () => {
  const { answer, milliseconds } = await ask((socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokayjunk'))
  assert.equal(answer, { status: 200, body: 'okay' })
  assert.ok(milliseconds > 0)
})

test('a body without a length ends with the connection', async () => {
  assert.equal((await ask(reply('HTTP/1.0 503 Draining\r\n\r\nis draining\n'))).answer, { status: 503, body: 'is draining\n' })
})

test('an answer without a reason and without a body', async () => {
  assert.equal((await ask(reply('HTTP/1.1 204\r\n\r\n'))).answer, { status: 204, body: '' })
})

test('chunks are put together, wherever packets cut them', async () => {
  const bytes = Buffer.from(
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;note=x\r\nhello\r\nD\r\n, \u00e9t\u00e9 world\r\n0\r\n\r\n'
  )
  const { answer } = await ask(async (socket) => {
    for (let at = 0; at < bytes.length; at += 7) {
      socket.write(bytes.subarray(at, at + 7))
      await sleep(1)
    }
  })
  assert.equal(answer, { status: 200, body: 'hello, \u00e9t\u00e9 world' })
})

test('the chunks of a real server, and its path', async () => {
  const server = createHttpServer((request, response) => {
    response.write(`${request.method} ${request.url}`)
    response.end(` for ${request.headers.host}`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const { status, body } = await get('127.0.0.1', { port, path: '/healthz', host: 'a.example' })
  server.close()
  assert.equal({ status, body }, { status: 200, body: 'GET /healthz for a.example' })
})

test('without a host it is HTTP/1.0 and sends no Host header', async () => {
  const { received } = await ask(reply('HTTP/1.1 200 OK\r\n\r\n'), { path: '/healthz' })
  assert.is(received, 'GET /healthz HTTP/1.0\r\n\r\n')
})

test('with a host it is HTTP/1.1 and closes', async () => {
  const { received } = await ask(reply('HTTP/1.1 200 OK\r\n\r\n'), { host: 'lb.example.com' })
  assert.is(received, 'GET / HTTP/1.1\r\nHost: lb.example.com\r\nConnection: close\r\n\r\n')
})

test('PROXY protocol says the two ends of the connection first', async () => {
  const { received, port } = await ask(reply('HTTP/1.1 200 OK\r\n\r\n'), { proxyProtocol: true, path: '/healthz' })
  const [, source] = /^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 (\d+) \d+\r\n/.exec(received) ?? []
  assert.ok(Number(source) > 1024)
  assert.is(received, `PROXY TCP4 127.0.0.1 127.0.0.1 ${source} ${port}\r\nGET /healthz HTTP/1.0\r\n\r\n`)
})

test('nothing listens', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  assert.is((await get('127.0.0.1', { port })).error, 'connection refused')
})

test('no answer in time', async () => {
  const { answer, milliseconds } = await ask(() => {}, { timeout: 500 })
  assert.equal(answer, { error: 'connected, but no answer within 500 ms' })
  assert.ok(milliseconds >= 495)
})

test('an interrupted one gives up at once', async () => {
  const { answer } = await ask(() => {}, { timeout: 60_000, signal: AbortSignal.timeout(50) })
  assert.equal(answer, { error: 'interrupted' })
})

test('an answer that never ends', async () => {
  const { answer } = await ask((socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive '), { timeout: 500 })
  assert.equal(answer, { error: 'connected, but no answer within 500 ms' })
})

test('an answer too large', async () => {
  const { answer } = await ask((socket) => void socket.write(`HTTP/1.1 200 OK\r\n\r\n${'x'.repeat(1024 * 1024)}`))
  assert.equal(answer, { error: 'an answer of more than 1048576 bytes' })
})

test('closed or reset without an answer, as an end that waits for PROXY protocol does', async () => {
  assert.equal((await ask((socket) => void socket.end())).answer, { error: 'connection closed without an answer' })
  assert.equal((await ask((socket) => void socket.resetAndDestroy())).answer, { error: 'connection reset without an answer' })
})

test('closed in the middle', async () => {
  assert.equal((await ask(reply('HTTP/1.1 200 OK\r\nContent-'))).answer, { error: 'connection closed within the header' })
  assert.equal((await ask(reply('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfive'))).answer,
    { error: 'connection closed within the answer (200)' })
  assert.equal((await ask(reply('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'))).answer,
    { error: 'connection closed within the answer (200)' })
})

test('something that is no HTTP', async () => {
  assert.equal((await ask(reply('SSH-2.0-OpenSSH_9.6\r\n'))).answer, { error: 'no HTTP: "SSH-2.0-OpenSSH_9.6"' })
  assert.equal((await ask(reply('HTTP/one two\r\n\r\n'))).answer, { error: 'no HTTP: "HTTP/one two"' })
})

test('a port is open as long as something listens there', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  assert.is(await isOpen('127.0.0.1', port), true)
  server.close()
  await once(server, 'close')
  assert.is(await isOpen('127.0.0.1', port), false)
})

test.run()
