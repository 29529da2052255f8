import { connect } from 'node:net'
import { connect as connectWithTls } from 'node:tls'

/** The result of a request: a status and a body, or an error in words. */
export type Answer = { milliseconds: number; status?: number; body?: string; error?: string }

export type GetOptions = {
  /** Default 80, with `tls` 443. */
  port?: number
  /** Speaks TLS, for the name of `host`, and takes any certificate: nothing secret is sent. */
  tls?: boolean
  /** Default /. */
  path?: string
  /** The Host header. Without it none is sent, in HTTP/1.0: as a load balancer without a configured domain does. */
  host?: string
  /** Sends a line of PROXY protocol version 1 first. */
  proxyProtocol?: boolean
  /** Milliseconds from the first packet to the end of the answer (default 5000). */
  timeout?: number
  /** Gives up at once. */
  signal?: AbortSignal
}

// The answer of a health check is a few bytes. An endless answer is an error.
const mostBytes = 1024 * 1024

/** One HTTP GET over a new connection; never throws. */
export const get = (address: string, options: GetOptions = {}): Promise<Answer> => {
  const { tls = false, port = tls ? 443 : 80, path = '/', host, proxyProtocol = false, timeout = 5000, signal } = options
  const started = performance.now()
  return new Promise((resolve) => {
    const socket = tls
      ? connectWithTls({ host: address, port, rejectUnauthorized: false, ...(host === undefined ? {} : { servername: host }) })
      : connect({ host: address, port, noDelay: true })
    let received = Buffer.alloc(0)
    let connected = false
    const settle = (outcome: Omit<Answer, 'milliseconds'>): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', interrupted)
      socket.destroy()
      resolve({ milliseconds: performance.now() - started, ...outcome })
    }
    const late = (): void =>
      settle({ error: `${connected ? 'connected, but no answer' : 'no connection'} within ${timeout} ms` })
    const timer = setTimeout(late, timeout)
    const interrupted = (): void => settle({ error: 'interrupted' })
    if (signal?.aborted) return interrupted()
    signal?.addEventListener('abort', interrupted)
    const read = (ended: boolean): void => {
      const outcome = readResponse(received, ended)
      if (outcome) settle(outcome)
    }
    socket.on(tls ? 'secureConnect' : 'connect', () => {
      connected = true
      const { localAddress, localPort, remoteAddress } = socket
      const family = remoteAddress?.includes(':') ? 'TCP6' : 'TCP4'
      const proxy = proxyProtocol ? `PROXY ${family} ${localAddress} ${remoteAddress} ${localPort} ${port}\r\n` : ''
      const request = host === undefined
        ? `GET ${path} HTTP/1.0\r\n\r\n`
        : `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`
      socket.write(proxy + request)
    })
    socket.on('data', (data: Buffer) => {
      received = Buffer.concat([received, data])
      if (received.length > mostBytes) settle({ error: `an answer of more than ${mostBytes} bytes` })
      else read(false)
    })
    socket.on('end', () => read(true))
    // A server that refuses a request may send an answer and then a reset: then the answer counts.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const outcome = readResponse(received, true)
      settle(outcome && outcome.status !== undefined ? outcome : { error: inWords(error, connected) })
    })
  })
}

/** True where something accepts a TCP connection on the port within a second. */
export const isOpen = (address: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: 1000 })
    const settle = (open: boolean) => (): void => {
      socket.destroy()
      resolve(open)
    }
    socket.on('connect', settle(true)).on('timeout', settle(false)).on('error', settle(false))
  })

const inWords = ({ code, message }: NodeJS.ErrnoException, connected: boolean): string => {
  if (code === 'ECONNREFUSED') return 'connection refused'
  if (code === 'EHOSTUNREACH' || code === 'ENETUNREACH') return 'no route to the address'
  if (connected && (code === 'ECONNRESET' || code === 'EPIPE')) return 'connection reset without an answer'
  return message
}

// The response, from what was received so far. Nothing while it is not complete.
const readResponse = (received: Buffer, ended: boolean): Omit<Answer, 'milliseconds'> | undefined => {
  if (received.length === 0) return ended ? { error: 'connection closed without an answer' } : undefined
  const start = received.subarray(0, 5).toString('latin1')
  if (!'HTTP/'.startsWith(start)) return { error: `no HTTP: ${JSON.stringify(firstLine(received))}` }
  const end = received.indexOf('\r\n\r\n')
  if (end === -1) return ended ? { error: 'connection closed within the header' } : undefined
  const [statusLine = '', ...headers] = received.subarray(0, end).toString('latin1').split('\r\n')
  const status = /^HTTP\/\d\.\d (\d{3})( |$)/.exec(statusLine)?.[1]
  if (status === undefined) return { error: `no HTTP: ${JSON.stringify(firstLine(received))}` }
  const body = readBody(received.subarray(end + 4), headers, ended)
  if (body !== undefined) return { status: Number(status), body: body.toString('utf8') }
  return ended ? { error: `connection closed within the answer (${status})` } : undefined
}

const firstLine = (received: Buffer): string =>
  (received.subarray(0, 60).toString('latin1').split(/\r?\n/)[0] ?? '').trimEnd()

// The whole body, or nothing while a part is missing. Without a length it ends with the connection.
const readBody = (rest: Buffer, headers: string[], ended: boolean): Buffer | undefined => {
  const header = (name: string): string | undefined =>
    headers.find((line) => line.toLowerCase().startsWith(`${name}:`))?.slice(name.length + 1).trim().toLowerCase()
  if (header('transfer-encoding')?.endsWith('chunked')) return joinChunks(rest)
  const length = header('content-length')
  if (length !== undefined) return rest.length >= Number(length) ? rest.subarray(0, Number(length)) : undefined
  return ended ? rest : undefined
}

const joinChunks = (rest: Buffer): Buffer | undefined => {
  const chunks: Buffer[] = []
  for (let at = 0; ;) {
    const end = rest.indexOf('\r\n', at)
    if (end === -1) return undefined
    const size = Number.parseInt(rest.subarray(at, end).toString('latin1'), 16)
    if (size === 0) return Buffer.concat(chunks)
    const next = end + 2 + size
    // A chunk size that is not a number makes `next` NaN: it is never reached.
    if (!(rest.length >= next + 2)) return undefined
    chunks.push(rest.subarray(end + 2, next))
    at = next + 2
  }
}
