import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { scrubber } from '../../../lib/validation/scrub.mts'

const scrub = scrubber(['correct horse "battery"'])
const becomes = (cases: Record<string, string>): void => {
  for (const [text, expected] of Object.entries(cases)) assert.is(scrub(text), expected)
}

test('a known secret is struck out in every form', () => {
  for (const before of ['', 'a', 'ab', 'user:']) {
    const encoded = Buffer.from(`${before}correct horse "battery"\n`).toString('base64')
    assert.match(scrub(`data: ${encoded}`), /\[secret\]/)
    for (const part of ['orrect hors', 'battery']) {
      assert.not.match(Buffer.from(scrub(encoded).replaceAll('[secret]', ' '), 'base64').toString('latin1'), new RegExp(part))
    }
  }
  becomes({
    'is correct horse "battery"!': 'is [secret]!',
    '{"a":"correct horse \\"battery\\""}': '{"a":"[secret]"}',
    'GET /correct%20horse%20%22battery%22': 'GET /[secret]'
  })
})

test('what is too short to be told from other words is left alone', () => {
  assert.is(scrubber(['k3s', ''])('k3s is k3s'), 'k3s is k3s')
})

const key = `-----BEGIN EC PRIVATE KEY-----\n${'MHcCAQEEI'.repeat(7)}\n${'oAoGCCqGS'.repeat(7)}\n-----END EC PRIVATE KEY-----`

test('private keys, whole and cut off', () => {
  becomes({
    [`a\n${key}\nb ${key} c`]: 'a\n[private key]\nb [private key] c',
    [`a\n${key.slice(0, 80)}`]: 'a\n[private key]',
    [`${key.slice(60)}\nb`]: '[private key]\nb',
    [`key: ${Buffer.from(key).toString('base64')} x`]: 'key: [PEM] x',
    ['-----BEGIN CERTIFICATE-----']: '-----BEGIN CERTIFICATE-----'
  })
})

test('tokens that are known by their form', () => {
  becomes({
    [`join with K10${'a1'.repeat(32)}::server:0123abcd now`]: 'join with [secret] now',
    'abcdef.0123456789abcdef': '[secret]',
    'eyJhbGciOiJSUzI1NiIsImtpZCI6Ik.eyJpc3MiOiJr.c2lnbmF0dXJl-x': '[secret]',
    'Authorization: Bearer abc.def-ghi': 'Authorization: [secret]',
    '"authorization":"Basic dXNlcjpwYXNz"': '"authorization":"[secret]"',
    'sent bearer 0123456789abcdef': 'sent bearer [secret]',
    'Set-Cookie: sid=1; Path=/\nnext': 'Set-Cookie: [secret]\nnext',
    'redis://user:hunter2@10.0.0.10:6379/0': 'redis://[secret]@10.0.0.10:6379/0',
    'hvs.CAESIJ0123456789abcdefghij': '[secret]'
  })
})

test('values by their names', () => {
  becomes({
    'token: hunter2': 'token: [secret]',
    'agent-token: "hunter2"': 'agent-token: "[secret]"',
    "K3S_TOKEN='hunter2'": "K3S_TOKEN='[secret]'",
    'level=info password=hunter2 user=x': 'level=info password=[secret] user=x',
    '{"db_password":"hunter 2","x":1}': '{"db_password":"[secret]","x":1}',
    '{\\"apiKey\\":\\"hunter2\\",\\"x\\":1}': '{\\"apiKey\\":\\"[secret]\\",\\"x\\":1}',
    'client-key-data: aGVsbG8=': 'client-key-data: [secret]',
    '--requirepass=x --vault-token abcd --v=2': '--requirepass=x --vault-token [secret] --v=2',
    '["server","--token","hunter2","--v"]': '["server","--token","[secret]","--v"]',
    '  - --token\n  - hunter2\n': '  - --token\n  - [secret]\n',
    '  secret: |\n    hunter2\n    hunter3\n  other: x\n': '  secret: | [secret]\n  other: x\n'
  })
})

test('environment variables of pods', () => {
  becomes({
    '- name: DB_PASSWORD\n  value: hunter2\n- name: HOST\n  value: db': '- name: DB_PASSWORD\n  value: [secret]\n- name: HOST\n  value: db',
    '{"name":"SMTP_PASS","value":"hunter2"}': '{"name":"SMTP_PASS","value":"[secret]"}',
    '{\\"name\\":\\"API_KEY\\",\\"value\\":\\"hunter2\\"}': '{\\"name\\":\\"API_KEY\\",\\"value\\":\\"[secret]\\"}',
    '      DB_PASSWORD:  hunter2\n': '      DB_PASSWORD:  [secret]\n'
  })
})

test('what a visitor asked for is cut off, the path stays', () => {
  becomes({
    '"GET /reset?mail=a@b.example&code=123 HTTP/1.1" 200': '"GET /reset?[cut] HTTP/1.1" 200',
    '/readyz?verbose': '/readyz?verbose'
  })
})

test('what is no secret stays', () => {
  for (const text of [
    'token-file: /etc/rancher/k3s/token', 'agent-token-file: /etc/rancher/k3s/agent-token', 'secrets-encryption: true',
    'automountServiceAccountToken: false', 'secretName: default-server-tls', 'secret:\n  secretName: x\n', '--token-file /etc/x',
    "DB_PASSWORD: <set to the key 'password' in secret 'db'>", 'imagePullSecrets:\n- name: registry', 'the token and the agent-token are kept',
    'k3s-worker-01.node-password.k3s  Opaque  1', 'value: 3\nname: x', '10.0.0.100:6443', 'etcd-snapshot-k3s-master-01-1795600000'
  ]) assert.is(scrub(text), text)
})

test('a long line without a blank takes no longer than others', () => {
  const started = performance.now()
  for (const text of ['a'.repeat(1_000_000), 'x-'.repeat(500_000), '-----END '.repeat(100_000), 'name: '.repeat(150_000), '\n '.repeat(500_000)]) scrub(text)
  assert.ok(performance.now() - started < 5000, `${performance.now() - started} ms`)
})

test.run()
