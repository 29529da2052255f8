import { execFileSync } from 'node:child_process'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { backendsOf, type Backend } from '../../../lib/apps/protocols.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'

const settings = defaultSettings()
settings.backends.smtp.host = 'smtp.example.com'
const all = backendsOf(settings)
const backend = (key: Backend['key']): Backend => all.find((one) => one.key === key)!
const reads = (key: Backend['key'], answer: string): string | undefined => backend(key).reads(answer)

test('each backend with an address is there, with the port of the settings', () => {
  assert.equal(all.map(({ title, address, port }) => `${title} ${address}:${port}`), [
    'PostgreSQL 10.0.0.10:5432', 'Redis 10.0.0.10:6379', 'RabbitMQ 10.0.0.10:5672', 'MinIO 10.0.0.134:9000',
    'MariaDB 10.0.0.20:3306', 'Vault 10.0.0.150:8200', 'SMTP smtp.example.com:587'
  ])
  const none = defaultSettings()
  none.backends.mariadb.address = ''
  assert.equal(backendsOf(none).map(({ key }) => key), ['postgres', 'redis', 'rabbitmq', 'minio', 'vault'])
})

const sent = (key: Backend['key']): string => execFileSync('printf', [backend(key).ask]).toString('latin1')

test('what is sent is what the protocols say', () => {
  assert.is(sent('postgres'), '\0\0\0\x08\x04\xd2\x16\x2f')
  assert.is(sent('redis'), 'PING\r\n')
  assert.is(sent('rabbitmq'), 'AMQP\0\0\x09\x01')
  assert.is(sent('minio'), 'GET /minio/health/live HTTP/1.0\r\nHost: keybuzz-check\r\n\r\n')
  const login = sent('mariadb')
  assert.is(login.charCodeAt(0), login.length - 4, 'the length in the header of the packet')
  assert.is(login.slice(36), 'keybuzz-check\0\0')
})

test('a mail server at 465 is asked by TLS, and whatever it answers in TLS is well', () => {
  const own = defaultSettings()
  Object.assign(own.backends.smtp, { host: 'smtp.example.com', port: 465 })
  const smtps = backendsOf(own).find(({ key }) => key === 'smtp')!
  const hello = execFileSync('printf', [smtps.ask])
  assert.equal([hello[0], hello.readUInt16BE(3), hello.readUIntBE(6, 3)], [0x16, hello.length - 5, hello.length - 9], 'the lengths of record and message')
  for (const answer of ['\x15\x03\x03\0\x02\x02\x28', '\x16\x03\x03\0\x31\x02']) assert.is(smtps.reads(answer), '')
  for (const answer of ['220 mail ESMTP\r\n', 'HTTP/1.1 400 Bad Request\r\n\r\n']) assert.is(smtps.reads(answer), undefined)
})

// As Debian's MariaDB 10.11, RabbitMQ 3.10 and Redis 7.0 sent it.
const greeting = 'd\0\0\0\n5.5.5-10.11.19-MariaDB-0+deb12u1\0'
const blocked = "D\0\0\0\xff\x69\x04Host '10.0.0.10' is blocked because of many connection errors; unblock with 'mariadb-admin flush-hosts'"
const start = '\x01\0\0\0\0\x01\xf0\0\x0a\0\x0a\0\x09\0\0\x01\xcb\x0ccapabilities'

test('the answer of a backend that is well', () => {
  const well: [Backend['key'], string][] = [
    ['postgres', 'N'], ['postgres', 'S'], ['redis', '+PONG\r\n'], ['redis', '-NOAUTH Authentication required.\r\n'], ['rabbitmq', start],
    ['minio', 'HTTP/1.0 200 OK\r\n'],
    // Ceph's gateway, and stores that know no path of MinIO.
    ['minio', 'HTTP/1.1 403 Forbidden\r\n\r\n'], ['minio', 'HTTP/1.1 404 Not Found\r\n\r\n'], ['mariadb', greeting], ['smtp', '220 mail ESMTP\r\n'], ['smtp', '220-mail\r\n220 ESMTP\r\n'],
    ...[200, 429, 472, 473].map((status): [Backend['key'], string] => ['vault', `HTTP/1.0 ${status} x\r\n\r\n`]),
    ['vault', 'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n']
  ]
  for (const [key, answer] of well) assert.is(reads(key, answer), '', `${key} ${answer}`)
})

test('one that speaks its protocol and is not well says what it said', () => {
  const balancer = 'HTTP/1.0 503 Service Unavailable\r\n\r\n<h1>503</h1>\nNo server is available to handle this request.'
  const sick: [Backend['key'], string, string][] = [
    ['postgres', 'Esorry, too many clients already\n\0', 'it says "sorry, too many clients already"'],
    ['redis', '-LOADING Redis is loading the dataset in memory\r\n', 'it says "-LOADING Redis is loading the dataset in memory"'],
    ['rabbitmq', 'AMQP\0\x01\0\0', 'it speaks another version of AMQP than 0-9-1'],
    ['minio', 'HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n', 'it wants TLS, and the applications speak plain HTTP with it'],
    ['minio', 'HTTP/1.1 400 Bad Request\r\n\r\n<title>400 The plain HTTP request was sent to HTTPS port</title>', 'it wants TLS, and the applications speak plain HTTP with it'],
    ['minio', balancer, 'its load balancer says 503: no server is up behind it'],
    ['vault', balancer, 'its load balancer says 503: no server is up behind it'],
    ['vault', 'HTTP/1.0 503 x\r\n\r\n{"sealed":true}', 'it is sealed'],
    ['vault', 'HTTP/1.0 501 x\r\n\r\n', 'it is not initialized'],
    ['mariadb', blocked, `it says ${JSON.stringify(blocked.slice(7))}`],
    ['mariadb', '\x20\0\0\0\xff\x10\x04#08004Too many connections', 'it says "Too many connections"'],
    ['smtp', '421 too busy\r\n', 'it says "421 too busy"']
  ]
  for (const [key, answer, words] of sick) assert.is(reads(key, answer), words)
})

test('another protocol is none of theirs', () => {
  const others = ['SSH-2.0-OpenSSH_9.2\r\n', 'HTTP/1.1 500 Internal Server Error\r\n\r\n', 'x', '\x15\x03\x01\0\x02\x02\x46']
  for (const { key } of all) {
    for (const answer of others) assert.is(reads(key, answer), undefined, `${key} ${answer}`)
  }
})

test.run()
