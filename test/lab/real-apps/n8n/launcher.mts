#!/usr/local/bin/node
// Stands in for n8n's task-runner-launcher, a Go program that the module proxy does not serve. Like it, it offers the broker
// to take a task, starts the real JavaScript runner when there is one, and offers again when the runner has ended for want of
// work. No Python, and it does not look whether the runner is well.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'

const { env } = process
const broker = env['N8N_RUNNERS_TASK_BROKER_URI'] ?? 'http://127.0.0.1:5679'
const token = env['N8N_RUNNERS_AUTH_TOKEN']
if (!token) throw new Error('N8N_RUNNERS_AUTH_TOKEN is not set')

const say = (text: string): void => console.log(`${new Date().toISOString()} [launcher, a stand-in] ${text}`)

const untilBrokerAnswers = async (): Promise<void> => {
  while (!(await fetch(`${broker}/healthz`).then(({ ok }) => ok, () => false))) await wait(1000)
}

/** A token of the broker for one connection. */
const grant = async (): Promise<string> => {
  const response = await fetch(`${broker}/runners/auth`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token })
  })
  if (!response.ok) throw new Error(`the broker refuses the token with status ${response.status}`)
  const { data } = (await response.json()) as { data: { token: string } }
  return data.token
}

/** Waits until the broker has a task, and has it keep that for the runner. False: the broker has hung up. */
const hasTask = async (): Promise<boolean> => {
  const address = `${broker.replace(/^http/, 'ws')}/runners/_ws?id=${randomBytes(8).toString('hex')}`
  const socket = new WebSocket(address, { headers: { authorization: `Bearer ${await grant()}` } })
  const send = (message: object): void => socket.send(JSON.stringify(message))
  return new Promise((resolve) => {
    socket.addEventListener('close', () => resolve(false))
    socket.addEventListener('message', ({ data }) => {
      const { type, taskId } = JSON.parse(String(data)) as { type: string; taskId?: string }
      if (type === 'broker:inforequest') send({ type: 'runner:info', types: ['javascript'], name: 'launcher-javascript' })
      if (type === 'broker:runnerregistered') {
        send({ type: 'runner:taskoffer', taskType: 'javascript', offerId: randomBytes(8).toString('hex'), validFor: -1 })
      }
      if (type === 'broker:taskofferaccept') {
        send({ type: 'runner:taskdeferred', taskId })
        resolve(true)
        socket.close()
      }
    })
  })
}

// Of its own environment the runner gets these, as with the official n8n-task-runners.json.
const passedOn = [
  'PATH', 'LANG', 'TZ', 'TERM', 'HOME', 'GENERIC_TIMEZONE', 'NODE_OPTIONS', 'N8N_RUNNERS_AUTO_SHUTDOWN_TIMEOUT',
  'N8N_RUNNERS_TASK_TIMEOUT', 'N8N_RUNNERS_MAX_CONCURRENCY'
]

const runner = async (): Promise<void> => {
  const child = spawn(
    '/usr/local/bin/node',
    ['--disallow-code-generation-from-strings', '--disable-proto=delete', '/usr/local/lib/node_modules/@n8n/task-runner/dist/start.js'],
    {
      stdio: 'inherit',
      env: {
        ...Object.fromEntries(passedOn.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]))),
        N8N_RUNNERS_TASK_BROKER_URI: broker,
        N8N_RUNNERS_GRANT_TOKEN: await grant(),
        N8N_RUNNERS_HEALTH_CHECK_SERVER_ENABLED: 'true',
        N8N_RUNNERS_HEALTH_CHECK_SERVER_PORT: '5681',
        NODE_FUNCTION_ALLOW_BUILTIN: 'crypto'
      }
    }
  )
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  say(`the runner ended with ${signal ?? code}`)
}

createServer((request, response) => {
  response.writeHead(request.url === '/healthz' ? 200 : 404, { 'content-type': 'application/json' }).end('{"status":"ok"}')
}).listen(Number(env['N8N_RUNNERS_LAUNCHER_HEALTH_CHECK_PORT'] ?? 5680))

for (;;) {
  await untilBrokerAnswers()
  say('waits for a task')
  if (await hasTask()) {
    say('starts the runner: there is a task')
    await runner()
  } else await wait(5000)
}
