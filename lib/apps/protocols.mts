import type { Settings } from '../input/settings.mts'

/** A backend, and how it is told from something else that listens on its port. */
export type Backend = {
  key: keyof typeof protocols
  /** As it is called in the report. */
  title: string
  address: string
  port: number
  /** What it is sent, as a format of printf. '' where the server speaks first. */
  ask: string
  /** What is to come back, for who looks by hand. */
  expected: string
  /**
   * Reads its answer (a character a byte): '' where it is well, what is wrong in words where it speaks its protocol and is not
   * well, nothing where this is another protocol.
   */
  reads: (answer: string) => string | undefined
}

type Protocol = Omit<Backend, 'key' | 'address' | 'port'>

// Its first line.
const says = (text: string): string => `it says ${JSON.stringify(text.split(/\r?\n/, 1)[0]!.trim())}`

const statusOf = (answer: string): number => Number(/^HTTP\/1\.\d (\d{3})/.exec(answer)?.[1])

// What Go's servers, and so MinIO and Vault, say to plain HTTP where they expect TLS; and nginx and Apache before others.
const wantsTls = (answer: string): boolean => statusOf(answer) === 400 && /HTTP request to an HTTPS server|plain HTTP/.test(answer)

const noServer = 'its load balancer says 503: no server is up behind it'
const isFromBalancer = (answer: string): boolean => statusOf(answer) === 503 && answer.includes('No server is available')

const protocols = {
  postgres: {
    title: 'PostgreSQL',
    // SSLRequest. One byte comes back: whether it would speak TLS (PostgreSQL's documentation, 55.2.10).
    ask: '\\0\\0\\0\\010\\004\\322\\026\\057',
    expected: 'N or S',
    reads: (answer) => (/^[NS]$/.test(answer) ? '' : answer.startsWith('E') ? says(answer.slice(1)) : undefined)
  },
  redis: {
    title: 'Redis',
    ask: 'PING\\r\\n',
    expected: '+PONG or -NOAUTH',
    reads: (answer) => (/^(\+PONG|-NOAUTH)/.test(answer) ? '' : /^-[A-Z]/.test(answer) ? says(answer) : undefined)
  },
  rabbitmq: {
    title: 'RabbitMQ',
    ask: 'AMQP\\0\\0\\011\\001',
    expected: 'a frame that begins with 001',
    // Connection.Start: a method frame (1) on channel 0 of class 10, method 10. A server without 0-9-1 sends the version it has.
    reads: (answer) => {
      if (/^\x01\0\0[^]{4}\0\x0a\0\x0a/.test(answer)) return ''
      return answer.startsWith('AMQP') ? 'it speaks another version of AMQP than 0-9-1' : undefined
    }
  },
  minio: {
    title: 'MinIO',
    ask: 'GET /minio/health/live HTTP/1.0\\r\\nHost: keybuzz-check\\r\\n\\r\\n',
    expected: '200, or of another store of S3 any status below 500',
    reads: (answer) => {
      if (wantsTls(answer)) return 'it wants TLS, and the applications speak plain HTTP with it'
      if (statusOf(answer) < 500) return ''
      return isFromBalancer(answer) ? noServer : undefined
    }
  },
  mariadb: {
    title: 'MariaDB',
    // It greets first. This is the login of a user that is not there (protocol 4.1, no password): who hangs up without one is
    // counted, and after max_connect_errors (100) MariaDB lets its address in no more. A refused login is not counted.
    ask: `\\057\\0\\0\\001\\001\\202\\0\\0\\0\\0\\0\\001\\041${'\\0'.repeat(23)}keybuzz-check\\0\\0`,
    expected: '\\n as its fifth byte, then the version',
    // A packet has 4 bytes of header. 10 is the version of the greeting, 255 an error: its number (2 bytes) and text follow.
    reads: (answer) =>
      (answer[4] === '\x0a' ? '' : answer[4] === '\xff' ? says(answer.slice(7).replace(/^#\w{5}/, '')) : undefined)
  },
  vault: {
    title: 'Vault',
    ask: 'GET /v1/sys/health HTTP/1.0\\r\\nHost: keybuzz-check\\r\\n\\r\\n',
    expected: '200, or 429 or 473 of a standby, or that it wants TLS',
    reads: (answer) => {
      if ([200, 429, 472, 473].includes(statusOf(answer)) || wantsTls(answer)) return ''
      if (isFromBalancer(answer)) return noServer
      return { 501: 'it is not initialized', 503: 'it is sealed' }[statusOf(answer)]
    }
  },
  smtp: {
    title: 'SMTP',
    ask: '',
    expected: '220',
    reads: (answer) => (/^220[ -]/.test(answer) ? '' : /^[45]\d\d[ -]/.test(answer) ? says(answer) : undefined)
  }
} satisfies Record<string, Protocol>

/** The port of mail servers that speak TLS from the first byte (RFC 8314), and say nothing before the client does. */
const smtpsPort = 465

const smtps: Protocol = {
  title: 'SMTP',
  // A ClientHello of TLS 1.2 with one cipher and nothing else: a server answers with a record, be it an alert. Other bytes
  // would not do: OpenSSL hangs up on them without a word.
  ask: `\\026\\003\\001\\0\\055\\001\\0\\0\\051\\003\\003${'\\0'.repeat(32)}\\0\\0\\002\\300\\057\\001\\0`,
  expected: 'a record of TLS: 025 003 or 026 003',
  reads: (answer) => (/^[\x15\x16]\x03/.test(answer) ? '' : undefined)
}

/** The backends of the settings that have an address. */
export const backendsOf = ({ backends }: Settings): Backend[] =>
  (Object.keys(protocols) as Backend['key'][]).flatMap((key) => {
    const address = key === 'smtp' ? backends.smtp.host : backends[key].address
    const { port } = backends[key]
    const protocol: Protocol = key === 'smtp' && port === smtpsPort ? smtps : protocols[key]
    return address === '' ? [] : [{ key, ...protocol, address, port }]
  })
