import { existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, userInfo } from 'node:os'
import { delimiter, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { useFakeSsh } from '../../support/fake-ssh.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands } from '../../support/node-shell.mts'

const folder = useFakeSsh()
const { Locked, takeLock, withLock } = await import('../../../lib/run/lock.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')

const lock = join(folder, 'lock')
const me = `${userInfo().username}@${hostname()}`
const server = hostOf('s-1', { role: 'server' })
const dead = hostOf('s-0', { role: 'server', address: '192.0.2.255' })
const worker = hostOf('w-1')

const take = (script = '09_k3s_02', { hosts = [worker, server], force = false, ssh = createSsh() } = {}): Promise<() => Promise<void>> =>
  takeLock({ hosts, ssh }, { script, force })
const refusal = (taking: Promise<unknown>): Promise<string> =>
  taking.then(() => 'it was taken', (error: Error) => (error instanceof Locked ? error.message : `not Locked: ${error}`))
const holder = (): string[] => readFileSync(join(lock, 'holder'), 'utf8').split('\n')
const here = ['/etc/machine-id', '/proc/sys/kernel/random/boot_id'].map((file) => (existsSync(file) && readFileSync(file, 'utf8').trim()) || 'none')
  .concat(readlinkSync('/proc/self/ns/pid').replace(/\D/g, ''))
const heldBy = (who: string, process: string, { id = 'an-id', place = here.join(' ') } = {}): void => {
  mkdirSync(lock)
  writeFileSync(join(lock, 'holder'), `${who}\n${process}\n2026-01-02T03:04:05Z\n09_k3s_03\n${id}\n${place}\n`)
}
// A number that no process can have, and one of a living process that began at another time.
const ended = ['4194305 1', `${process.pid} 1`]
const hint = '\nHint: wait for it to end. If that run is dead, run again with --force-unlock.'

test.before.each(() => rmSync(lock, { recursive: true, force: true }))

test('the lock says who holds it, since when and for what, and is gone once it is given back', async () => {
  const release = await take()
  const [who, pid, since, script, , place] = holder()
  assert.equal([who, pid!.split(' ')[0], script, place], [me, String(process.pid), '09_k3s_02', here.join(' ')])
  assert.match(since!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  await release()
  assert.not(existsSync(lock))
})

test('a second run is refused, and told who is at work, since when and with what', async () => {
  const release = await take('09_k3s_02')
  const since = holder()[2]
  assert.is(await refusal(take('09_k3s_03')), `${me} is at work on the cluster: 09_k3s_02 since ${since} (process ${process.pid})${hint}`)
  await release()
  await (await take('09_k3s_03'))()
})

test('what is done under the lock is told to others, and the lock is given back however it ends', async () => {
  const notes: string[] = []
  const hold = <Value,>(use: () => Promise<Value>): Promise<Value> =>
    withLock({ hosts: [worker, server], ssh: createSsh(), note: (line) => notes.push(line) }, { script: 'test_healthcheck --prove' }, use)
  assert.is(await hold(async () => (await refusal(take('09_k3s_05'))).split('\n')[0]!.replace(/ since .*/, '')),
    `${me} is at work on the cluster: test_healthcheck --prove`)
  assert.not(existsSync(lock))
  assert.is(await hold(() => Promise.reject(new Error('it failed'))).catch((error: Error) => error.message), 'it failed')
  assert.not(existsSync(lock))

  // Somebody else's lock: nothing is done, and it stays.
  const release = await take('09_k3s_05')
  let done = false
  assert.match(await refusal(hold(async () => { done = true })), /is at work on the cluster: 09_k3s_05/)
  assert.not(done)
  assert.ok(existsSync(lock))
  await release()
  assert.equal(notes, [])
})

test('of many runs that begin at once one has the lock', async () => {
  const results = await Promise.allSettled(Array.from({ length: 6 }, () => take()))
  assert.is(results.filter(({ status }) => status === 'fulfilled').length, 1)
})

test('a run of this bastion that has ended is taken over', async () => {
  for (const process of ended) {
    heldBy(me, process)
    const release = await take('09_k3s_04')
    assert.is(holder()[3], '09_k3s_04')
    await release()
    assert.not(existsSync(lock))
  }
})

test('of many runs that find the same dead one, one takes its place', async () => {
  for (let round = 0; round < 3; round++) {
    heldBy(me, ended[0]!)
    const results = await Promise.allSettled(Array.from({ length: 6 }, () => take()))
    assert.is(results.filter(({ status }) => status === 'fulfilled').length, 1)
    rmSync(lock, { recursive: true })
  }
})

test('a run of another bastion is never taken over: nobody here knows whether it lives', async () => {
  heldBy('ops@elsewhere', ended[0]!)
  assert.is(await refusal(take()), `ops@elsewhere is at work on the cluster: 09_k3s_03 since 2026-01-02T03:04:05Z (process 4194305)${hint}`)
  assert.is(holder()[0], 'ops@elsewhere')
})

test('nor is a run of the same user and host name elsewhere: another machine, boot, or container of CI', async () => {
  const elsewhere = here.map((_, index) => here.map((part, at) => (at === index ? part.replace(/.$/, (last) => (last === '1' ? '2' : '1')) : part)).join(' '))
  for (const place of [...elsewhere, 'none']) {
    heldBy(me, ended[0]!, { place })
    assert.is(await refusal(take()), `${me} is at work on the cluster: 09_k3s_03 since 2026-01-02T03:04:05Z ` +
      `(process 4194305 on another machine or in another container of that name)${hint}`)
    assert.is(holder()[3], '09_k3s_03')
    rmSync(lock, { recursive: true })
  }
  heldBy(me, ended[0]!, { place: '' }) // as earlier releases wrote it
  assert.is(await refusal(take()), `${me} is at work on the cluster: 09_k3s_03 since 2026-01-02T03:04:05Z (process 4194305)${hint}`)
})

test('what a lock says is text: it reaches no shell, and prints as one short line', async () => {
  const trace = join(folder, 'trace')
  for (const id of [`'; touch ${trace}; '`, `$(touch ${trace})`]) {
    heldBy(me, ended[0]!, { id })
    assert.match(await refusal(take()), /is at work/)
    assert.not(existsSync(trace))
    rmSync(lock, { recursive: true })
  }
  heldBy(me, 'nonsense')
  assert.match(await refusal(take()), /is at work/)
  rmSync(lock, { recursive: true })
  heldBy(`\u001b]0;boo\u0007\u202e${'x'.repeat(5000)}`, ended[0]!)
  const [line, ...more] = (await refusal(take())).split('\n')
  assert.equal(more, [hint.trim()])
  assert.match(line!, /^\?\]?\S*x+ is at work on the cluster: 09_k3s_03 since [^\x00-\x1f\u202e]{1,100}$/)
  assert.ok(line!.length < 250, line)
})

test('where the holder cannot be written, no lock stays, and the server is named', async () => {
  const path = process.env['PATH']
  const why = 'No space left on device'
  const stubs: [string, string][] = [
    [`/bin/mkdir "$1" && ln -s /dev/full "$1/holder"`, why],
    [`echo "mkdir: ${why}" >&2; exit 1`, why],
    [`/bin/mkdir "$1" && /bin/mkdir "$1/holder"`, 'Is a directory']
  ]
  for (const [mkdir, words] of stubs) {
    process.env['PATH'] = [commands({ mkdir }), path].join(delimiter)
    const said = await refusal(take()).finally(() => (process.env['PATH'] = path))
    assert.match(said, new RegExp(`^the lock cannot be taken on s-1, and nothing was changed: .*${words}\nHint: ssh root@192.0.2.1 df -h /run$`))
    assert.not(existsSync(lock))
  }
  await (await take())()
})

test('a lock that says nothing, as one that is just being taken, is a lock', async () => {
  mkdirSync(lock)
  const words = `somebody is at work on the cluster: nothing more is known${hint}`
  assert.is(await refusal(take()), words)
  writeFileSync(join(lock, 'holder'), '')
  assert.is(await refusal(take()), words)
  assert.ok(existsSync(lock))
})

test('it can be taken by force, and who had it does not give the new one back', async () => {
  const former = await take('09_k3s_02')
  const release = await take('09_k3s_03', { force: true })
  await former()
  assert.is(holder()[3], '09_k3s_03')
  await release()
  assert.not(existsSync(lock))
})

test('it is given back after an interruption too', async () => {
  const interrupt = new AbortController()
  const release = await take('09_k3s_02', { ssh: createSsh({ signal: interrupt.signal }) })
  interrupt.abort()
  await release()
  assert.not(existsSync(lock))
})

test('a server that does not answer is passed over, and a worker never asked', async () => {
  const release = await take('09_k3s_02', { hosts: [dead, worker, server] })
  assert.ok(existsSync(lock))
  await release()
  assert.is(
    await refusal(take('09_k3s_02', { hosts: [worker, dead] })),
    'no server answers, so the lock cannot be taken and nothing was changed\nHint: ssh -v root@192.0.2.255'
  )
  assert.not(existsSync(lock))
})

test('an interruption is not taken for a server that does not answer', async () => {
  const ssh = createSsh({ signal: AbortSignal.abort() })
  assert.match(await refusal(take('09_k3s_02', { ssh })), /^not Locked: AbortError/)
})

test.run()
