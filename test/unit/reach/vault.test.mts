import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createListener, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Secret } from '../../../lib/input/secrets.mts'
import { createVault, type Vault, VaultAway, VaultError } from '../../../lib/reach/vault.mts'

type Said = { status?: number; body?: unknown }

// Vault's API on 127.0.0.1, for as long as it is used.
const withVault = async (answer: (asked: string, body: string, request: IncomingMessage) => Said, use: (vault: Vault, url: string) => Promise<unknown>, token: Secret | 'none' = new Secret('hvs.one')) => {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      const { status = 200, body: said } = answer(`${request.method} ${request.url}`, body, request)
      response.writeHead(status).end(said === undefined ? '' : typeof said === 'string' ? said : JSON.stringify(said))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  try {
    await use(createVault({ url, token: token === 'none' ? undefined : token, signal: new AbortController().signal }), url)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

const thrown = (work: Promise<unknown>): Promise<Error> => work.then(() => assert.unreachable(), (error: Error) => error) as Promise<Error>

test('what is at a path is read with the token, and nothing is nothing', async () => {
  const tokens: unknown[] = []
  await withVault((asked, _, { headers }) => {
    tokens.push(headers['x-vault-token'])
    return asked === 'GET /v1/sys/auth' ? { body: { data: { 'k3s/': { type: 'kubernetes' } }, lease_id: '' } } : { status: 404, body: { errors: [] } }
  }, async (vault) => {
    assert.equal(await vault.read('sys/auth'), { data: { 'k3s/': { type: 'kubernetes' } }, lease_id: '' })
    assert.is(await vault.read('auth/k3s/role/api'), undefined)
  })
  assert.equal(tokens, ['hvs.one', 'hvs.one'])
})

test('a write sends its data, and takes an answer without a body', async () => {
  await withVault((asked, body) => {
    assert.equal([asked, body], ['POST /v1/auth/k3s/role/api', '{"audience":"vault"}'])
    return { status: 204 }
  }, async (vault) => assert.equal(await vault.write('auth/k3s/role/api', { audience: 'vault' }), { data: {}, lease_id: '' }))
})

test('a refusal says which request, and what Vault says', async () => {
  await withVault(() => ({ status: 403, body: { errors: ['2 errors occurred:\n\t* permission denied\n\t* no such path\n\n'] } }), async (vault) => {
    const error = await thrown(vault.read('sys/mounts'))
    assert.instance(error, VaultError)
    assert.is(error.message, 'Vault refuses GET sys/mounts (403): permission denied; no such path')
  })
  await withVault(() => ({ status: 404, body: { errors: ['no handler for route'] } }), async (vault) =>
    assert.match((await thrown(vault.write('auth/k3s/login'))).message, /POST auth\/k3s\/login \(404\): no handler for route/))
})

/** The words of a VaultAway with this reason. Throws any other error. */
const away = (reason: string) => (error: unknown): string => {
  if (error instanceof VaultAway && error.away === reason) return error.message
  throw error
}

test('what every request would be told is told as one reason: sealed, a token that is over, nobody there', async () => {
  await withVault(() => ({ status: 503, body: { errors: ['Vault is sealed'] } }), async (vault) =>
    assert.is(await vault.read('sys/auth').catch(away('Vault is not ready')), 'Vault is sealed'))
  await withVault(() => ({ status: 403, body: { errors: ['2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n'] } }), async (vault) =>
    assert.is(await vault.read('sys/auth').catch(away('the token of Vault is not valid')), 'the token is not valid, or has expired: vault token lookup'))
  await withVault(() => ({ status: 307 }), async (vault) =>
    assert.match(String(await vault.write('sys/capabilities-self').catch(away('Vault is not ready'))), /is a standby that does not forward/))
  const nobody = createVault({ url: 'http://127.0.0.1:1', token: new Secret('hvs.two'), signal: new AbortController().signal })
  await nobody.read('sys/auth').catch(away('Vault does not answer'))
})

test('after a Vault that was silent nothing else waits as long', async () => {
  let asked = 0
  const server = createServer(() => asked++) // and never answers
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const vault = createVault({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: new Secret('hvs.three'), signal: new AbortController().signal, patience: 50 })
  for (const ask of [vault.state, () => vault.read('sys/auth'), () => vault.write('sys/auth/k3s')]) await ask().then(() => assert.unreachable(), away('Vault does not answer'))
  assert.is(asked, 1)
  server.close()
  server.closeAllConnections()
})

test('the state is told in words, and needs no token', async () => {
  for (const [status, words] of [[200, ''], [503, 'is sealed: vault operator unseal'], [501, 'is not initialized: vault operator init'], [502, 'status 502: Bad Gateway']] as const) {
    await withVault((_, __, { headers }) => {
      assert.is(headers['x-vault-token'], undefined)
      return { status, body: status === 502 ? 'Bad Gateway' : { server_time_utc: Date.now() / 1000 } }
    }, async (vault) => assert.is(await vault.state().catch(away('Vault is not ready')), words), 'none')
  }
  await withVault(() => ({}), async (vault) => assert.match((await thrown(vault.read('sys/auth'))).message, /no token of Vault is known/), 'none')
})

test('a clock that is wrong is told with the way it is wrong', async () => {
  for (const [off, words] of [[20, /^$/], [301, /^its clock is 30[012] s ahead of this bastion's/], [-3600, /^its clock is 3(600|599|601) s behind this bastion's/]] as const) {
    await withVault(() => ({ body: { server_time_utc: Math.floor(Date.now() / 1000) + off } }), async (vault) => assert.match(await vault.state(), words))
  }
})

test('what is no Vault is told in words', async () => {
  await withVault(() => ({ body: '<html>' }), async (vault, url) => assert.is((await thrown(vault.read('sys/auth'))).message, `Vault at ${url}: no JSON, but "<html>"`))
  const nobody = createVault({ url: 'http://127.0.0.1:1', token: undefined, signal: new AbortController().signal })
  assert.is((await thrown(nobody.state())).message, 'Vault at http://127.0.0.1:1: connection refused. Does it run?')
  await withVault(() => ({}), async (_, url) => {
    const tls = createVault({ url: url.replace('http:', 'https:'), token: undefined, signal: new AbortController().signal })
    assert.match((await thrown(tls.state())).message, /it speaks (plain HTTP|no TLS): set backends\.vault\.tls to false/)
  })
})

test('it is asked directly, also where the environment names a proxy: the token goes nowhere else', async () => {
  let connections = 0
  const proxy = createListener((socket) => (connections++, socket.destroy())).unref()
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  const env = { PATH: process.env['PATH'], NODE_USE_ENV_PROXY: '1', HTTP_PROXY: address, HTTPS_PROXY: address }
  const lib = join(import.meta.dirname, '../../../lib')
  const readWith = async (url: string): Promise<string> => {
    const script = `import { createVault } from '${lib}/reach/vault.mts'
import { Secret } from '${lib}/input/secrets.mts'
const vault = createVault({ url: '${url}', token: new Secret('hvs.five'), signal: new AbortController().signal })
console.log(await vault.read('sys/auth').then(({ data }) => data.from, ({ away }) => away))`
    return (await promisify(execFile)(process.execPath, ['--input-type=module-typescript', '-e', script], { env })).stdout.trim()
  }
  await withVault(() => ({ body: { data: { from: 'Vault' } } }), async (_, url) => {
    assert.is(await readWith(url), 'Vault')
    assert.is(await readWith(url.replace('http:', 'https:')), 'Vault does not answer') // it speaks no TLS
  })
  assert.is(connections, 0)
  proxy.close()
})

test('an interruption ends a request', async () => {
  const interrupt = new AbortController()
  const server = createServer(() => interrupt.abort())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const vault = createVault({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: undefined, signal: interrupt.signal })
  assert.is((await thrown(vault.state())).name, 'AbortError')
  server.close()
  server.closeAllConnections()
})

test.run()
