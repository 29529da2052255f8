// What stands in an operator's place in the lab: a receiver of webhooks, of Slack's messages, of signs of life and of mail.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connect as secure } from 'node:tls'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { $ } from 'zx'

const folder = await mkdtemp(join(tmpdir(), 'lab-alerts-'))
const pem = join(folder, 'alerts.pem')
await writeFile(join(folder, 'secrets'), 'KEYBUZZ_SMTP_PASSWORD=odd=@:#\n')

const program = new URL('../lab/images/tools/rootfs/usr/local/lib/lab/alerts', import.meta.url).pathname
const alerts = spawn('python3', ['-B', program, '0', '0'], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, LAB_SECRETS: join(folder, 'secrets'), LAB_PEM: pem }
})
const [line] = await once(createInterface({ input: alerts.stdout }), 'line') as [string]
const [web, mail] = /(\d+) (\d+)$/.exec(line)!.slice(1).map(Number) as [number, number]

type Message = { at: string; path: string; status: number; body: unknown }

const ask = (path: string, method = 'GET', body?: string) =>
  fetch(`http://127.0.0.1:${web}${path}`, { method, ...(body === undefined ? {} : { body }) })
const messages = async (since = ''): Promise<Message[]> =>
  await (await ask(`/messages?since=${encodeURIComponent(since)}`)).json() as Message[]

/** Says lines to the mail server, each after the answer to the one before, and gives the answers. */
const dialogue = async (socket: Socket, lines: string[], greeted = true): Promise<string[]> => {
  const answers: string[] = []
  let text = ''
  socket.setEncoding('utf8')
  const answer = async (): Promise<void> => {
    while (!/^\d{3} .*\r\n$/m.test(text)) text += (await once(socket, 'data') as [string])[0]
    answers.push(text.trimEnd())
    text = ''
  }
  if (greeted) await answer()
  for (const one of lines) {
    socket.write(`${one}\r\n`)
    await answer()
  }
  return answers
}
const plain = (password: string): string => `AUTH PLAIN ${Buffer.from(`\0ops\0${password}`).toString('base64')}`
const letter = ['MAIL FROM:<prometheus@keybuzz.io>', 'RCPT TO:<ops@keybuzz.io>', 'DATA',
  'From: prometheus@keybuzz.io\r\nTo: ops@keybuzz.io\r\nSubject: =?utf-8?q?n=C5=93ud?=\r\n\r\nk3s-worker-01\r\n..\r\n.']

test.before.each(async () => {
  await ask('/messages', 'DELETE')
})

test('what is posted is kept with its time, in the order in which it came', async () => {
  const before = new Date(Date.now() - 1).toISOString()
  assert.is((await ask('/webhook/pages', 'POST', '{"status":"firing"}')).status, 200)
  assert.is(await (await ask('/slack/tickets', 'POST', '{"text":"x"}')).text(), 'ok')
  assert.is((await ask('/ping/watchdog')).status, 200)
  assert.is((await ask('/ping/watchdog/fail', 'POST', 'no json')).status, 200)
  const found = await messages()
  assert.equal(found.map(({ path, status, body }) => [path, status, body]), [
    ['/webhook/pages', 200, { status: 'firing' }], ['/slack/tickets', 200, { text: 'x' }],
    ['/ping/watchdog', 200, ''], ['/ping/watchdog/fail', 200, 'no json']
  ])
  assert.ok(found.every(({ at }) => /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/.test(at) && at >= before))
  assert.equal(await messages(found.at(-1)!.at), [])
  assert.is((await messages(before)).length, 4)
})

test('what is no JSON is refused, and what is not known', async () => {
  assert.is((await ask('/webhook/pages', 'POST', '{')).status, 400)
  assert.is((await ask('/webhook/', 'POST', '{}')).status, 404)
  assert.is((await ask('/webhook/pages')).status, 404)
})

test('a receiver fails when it is told to, and only that one', async () => {
  await ask('/fail/pages', 'POST')
  assert.is((await ask('/webhook/pages', 'POST', '{}')).status, 500)
  assert.is((await ask('/webhook/tickets', 'POST', '{}')).status, 200)
  await ask('/fail/pages', 'DELETE')
  assert.is((await ask('/webhook/pages', 'POST', '{}')).status, 200)
  assert.equal((await messages()).map(({ status }) => status), [500, 200, 200])
})

test('mail is taken from who has the password', async () => {
  const socket = connect(mail, '127.0.0.1')
  const answers = await dialogue(socket, ['EHLO here', letter[0]!, plain('wrong'), plain('odd=@:#'), ...letter, 'QUIT'])
  socket.destroy()
  assert.match(answers[1]!, /AUTH LOGIN PLAIN/)
  assert.equal(answers.slice(2).map((text) => text.slice(0, 3)), ['530', '535', '235', '250', '250', '354', '250', '221'])
  assert.equal((await messages()).map(({ path, body }) => [path, body]), [['smtp', {
    from: 'prometheus@keybuzz.io', to: ['ops@keybuzz.io'], subject: 'nœud', tls: false, text: 'k3s-worker-01\n.\n'
  }]])
})

test('AUTH LOGIN asks for both, and a mail server that fails says so', async () => {
  await ask('/fail/smtp', 'POST')
  const socket = connect(mail, '127.0.0.1')
  const coded = (text: string): string => Buffer.from(text).toString('base64')
  const answers = await dialogue(socket, ['EHLO here', 'AUTH LOGIN', coded('ops'), coded('odd=@:#'), ...letter])
  socket.destroy()
  await ask('/fail/smtp', 'DELETE')
  assert.equal(answers.slice(2).map((text) => text.slice(0, 3)), ['334', '334', '235', '250', '250', '354', '451'])
})

test('with a certificate no password is taken without TLS', async () => {
  await $({ quiet: true })`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=alerts-01 -keyout ${pem} -out ${join(folder, 'certificate')}`
  await $({ quiet: true })`cat ${join(folder, 'certificate')} >> ${pem}`
  const socket = connect(mail, '127.0.0.1')
  const answers = await dialogue(socket, ['EHLO here', plain('odd=@:#'), 'STARTTLS'])
  assert.match(answers[1]!, /STARTTLS/)
  assert.match(answers[2]!, /^530/)
  const inside = secure({ socket, rejectUnauthorized: false })
  await once(inside, 'secureConnect')
  const more = await dialogue(inside, ['EHLO here', plain('odd=@:#'), ...letter], false)
  socket.destroy()
  assert.equal(more.slice(1).map((text) => text.slice(0, 3)), ['235', '250', '250', '354', '250'])
  assert.is(((await messages())[0]!.body as { tls: boolean }).tls, true)
})

test.after(() => {
  alerts.kill()
})

test.run()
