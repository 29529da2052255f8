import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { download, HttpError, partOf, sweep } from '../../../lib/reach/download.mts'

const scratch = await mkdtemp(join(tmpdir(), 'keybuzz-download-'))
let handler: (request: IncomingMessage, response: ServerResponse) => void = () => {}
const server = createServer((request, response) => handler(request, response))
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
test.after(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  await rm(scratch, { recursive: true })
})

const newFolder = (): Promise<string> => mkdtemp(join(scratch, 'folder-'))
const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex')
const failureOf = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(() => new Error('it succeeded'), (error: Error) => error)

test('the file is there with its SHA-256, for the owner alone, in a folder that is made for it', async () => {
  let headers: IncomingMessage['headers'] = {}
  handler = (request, response) => {
    headers = request.headers
    response.end('whole')
  }
  const folder = join(await newFolder(), 'cache')
  const file = join(folder, 'k3s')
  assert.is(await download(`${origin}/k3s`, file), sha256('whole'))
  assert.is(await download(`${origin}/k3s`, file, { sha256: sha256('whole') }), sha256('whole'))
  assert.is(await readFile(file, 'utf8'), 'whole')
  assert.equal([(await stat(folder)).mode & 0o777, (await stat(file)).mode & 0o777], [0o700, 0o600])
  assert.equal(await readdir(folder), ['k3s'])
  assert.is(headers['accept-encoding'], 'identity')
})

test('it has its name only once it is whole; until then what was there stays', async () => {
  const folder = await newFolder()
  const file = join(folder, 'k3s')
  await writeFile(file, 'before')
  const seen: string[] = []
  handler = (_, response) => {
    response.writeHead(200, { 'content-length': 10 })
    response.write('first')
    setTimeout(async () => {
      seen.push(await readFile(file, 'utf8'), ...(await readdir(folder)).toSorted())
      response.end('-last')
    }, 50)
  }
  await download(`${origin}/k3s`, file)
  assert.equal([seen[0], seen[1], seen.length], ['before', 'k3s', 3])
  assert.match(seen[2]!, new RegExp(`^k3s\\.${process.pid}\\.\\w+\\.part$`))
  assert.is(await readFile(file, 'utf8'), 'first-last')
})

test('progress is told at each tenth, with the total where the server says it', async () => {
  const told: [number, number | undefined][] = []
  const progress = (bytes: number, total: number | undefined): void => void told.push([bytes, total])
  const send = (head: object) => (_: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(200, { ...head })
    let sent = 0
    const next = (): void => {
      if (sent === 20) return void response.end()
      sent++
      response.write('x'.repeat(1000), () => setTimeout(next, 2))
    }
    next()
  }
  handler = send({ 'content-length': 20_000 })
  await download(`${origin}/k3s`, join(await newFolder(), 'k3s'), { progress })
  assert.equal(told.at(-1), [20_000, 20_000])
  assert.ok(told.length > 1 && told.length <= 10, `${told.length} times`)
  told.length = 0
  handler = send({})
  await download(`${origin}/k3s`, join(await newFolder(), 'k3s'), { progress })
  assert.equal(told, [])
})

test('an answer that is not the file is told with its status', async () => {
  handler = (_, response) => response.writeHead(404).end('not here')
  const folder = await newFolder()
  const error = await failureOf(download(`${origin}/k3s`, join(folder, 'k3s')))
  assert.instance(error, HttpError)
  assert.equal([error.message, (error as HttpError).status], [`GET ${origin}/k3s: 404 Not Found`, 404])
  assert.equal(await readdir(folder), [])
})

test('another checksum, an early end and a silent server leave nothing but what was there', async () => {
  const folder = await newFolder()
  const file = join(folder, 'k3s')
  await writeFile(file, 'before')
  const half = (_: IncomingMessage, response: ServerResponse, then: () => void): void => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('half', then)
  }
  handler = (_, response) => response.end('other')
  assert.is((await failureOf(download(`${origin}/k3s`, file, { sha256: sha256('whole') }))).message,
    `GET ${origin}/k3s: its SHA-256 is ${sha256('other')}, expected ${sha256('whole')}`)
  handler = (request, response) => half(request, response, () => response.destroy())
  assert.match((await failureOf(download(`${origin}/k3s`, file))).message, new RegExp(`^GET ${origin}/k3s: .+`))
  handler = (request, response) => half(request, response, () => {})
  assert.is((await failureOf(download(`${origin}/k3s`, file, { patience: 0.2 }))).message, `GET ${origin}/k3s: no data for 0.2 s`)
  assert.equal([await readdir(folder), await readFile(file, 'utf8')], [['k3s'], 'before'])
})

test('an interruption is one, whatever the server does', async () => {
  const folder = await newFolder()
  const interrupt = new AbortController()
  handler = (_, response) => {
    response.writeHead(200, { 'content-length': 100 })
    response.write('half', () => interrupt.abort())
  }
  assert.is((await failureOf(download(`${origin}/k3s`, join(folder, 'k3s'), { signal: interrupt.signal }))).name, 'AbortError')
  assert.equal(await readdir(folder), [])
})

test('what was asked for encrypted is not taken unencrypted', async () => {
  const { fetch } = globalThis
  const redirected = (url: string): void => {
    globalThis.fetch = async () => Object.defineProperty(new Response('whole'), 'url', { value: url })
  }
  const file = join(await newFolder(), 'k3s')
  try {
    redirected('http://mirror.test/k3s')
    assert.is((await failureOf(download('https://origin.test/k3s', file))).message,
      'GET https://origin.test/k3s: it was redirected to http://mirror.test/k3s, which is not encrypted')
    redirected('https://mirror.test/k3s')
    assert.is(await download('https://origin.test/k3s', file), sha256('whole'))
  } finally {
    globalThis.fetch = fetch
  }
})

test('each download writes to a name of its own, and only those that nobody writes to are swept', async () => {
  const folder = await newFolder()
  const mine = partOf(join(folder, 'k3s'))
  assert.is.not(mine, partOf(join(folder, 'k3s')))
  const [dead, other] = [join(folder, 'k3s.4194305.0a1b2c3d.part'), join(folder, 'some.part')]
  for (const file of [mine, dead, other]) await writeFile(file, 'half')
  await sweep(folder)
  assert.equal((await readdir(folder)).toSorted(), [mine, other].map((file) => file.slice(folder.length + 1)).toSorted())
})

test.run()
