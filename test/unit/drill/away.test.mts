import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DrillContext, DrillEvent, Seen } from '../../../lib/drill/away.mts'
import type { Endpoint } from '../../../lib/drill/traffic.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { eventually } from '../../support/eventually.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

// A node that is never touched: its ssh writes down which of the scripts came, and does what the test wants.
const folder = useFakeSsh()
const log = join(folder, 'log')
const sshThat = (onCut: string, onUndo = 'true'): void => {
  writeFileSync(log, '')
  writeFileSync(join(folder, 'ssh'), `#!/bin/bash
if [[ $1 == -V ]]; then exit; fi
read -r seconds size
script=$(head -c "$size")
eval "\${script%%$'\\n'*}" # its mark
case $script in
  *systemd-run*) echo cut >> ${log}; ${onCut} ;;
  *) echo undo >> ${log}; ${onUndo} ;;
esac
`)
  chmodSync(join(folder, 'ssh'), 0o755)
}
const done = (): string[] => readFileSync(log, 'utf8').trim().split('\n')

const { takeAway } = await import('../../../lib/drill/away.mts')
const { cutOff, scripted } = await import('../../../lib/drill/cuts.mts')
const { startTraffic } = await import('../../../lib/drill/traffic.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')

const host: Host = {
  name: 'k3s-master-02', address: '10.0.0.101', publicAddress: '', user: 'ops', fqdn: '', role: 'server',
  stack: 'k3s-control-plane', pool: 'control-plane', line: 3
}
const cut = scripted(createSsh(), host, { how: 'cut off', script: cutOff })

const endpoints = (ask: () => string): Endpoint[] => [
  { name: 'the API', kind: 'api', ask: async () => ask() }, { name: 'HTTP', kind: 'http', ask: async () => '' }
]

const start = (over: Partial<DrillContext> = {}, ask: () => string = () => '') => {
  const interrupt = new AbortController()
  const notes: string[] = []
  const context: DrillContext = {
    signal: interrupt.signal,
    note: (line) => notes.push(line),
    traffic: startTraffic(endpoints(ask), { interval: 20 }),
    faults: async () => [],
    lease: async () => 'then',
    calm: 0.6,
    every: 0.1,
    patience: 20,
    ...over
  }
  const take = (whileAway: DrillEvent['whileAway'], own = cut) =>
    takeAway(context, { what: 'a server dies', cut: own, whileAway }).finally(() => context.traffic.stop())
  return { take, notes, interrupt }
}
const never = async (): Promise<Seen> => { throw new Error('nothing was to be taken away') }
const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))
const failure = async (promise: Promise<unknown>): Promise<Error> =>
  promise.then(() => { throw new Error('it did not fail') }, (error: Error) => error)

test('an event is measured from before the cut until all is well', async () => {
  sshThat('true')
  let failing = false
  let requests = 0
  const { take, notes } = start({}, () => (requests++, failing ? 'connection refused' : ''))
  const more = (count: number, from = requests): Promise<void> => eventually('requests go on', () => requests >= from + count)
  await more(5)
  const from = performance.now()
  const row = await take(async () => {
    failing = true
    await Promise.all([sleep(600), more(5)])
    failing = false
    return { leader: 0.4 }
  })
  assert.equal(done(), ['cut', 'undo'])
  assert.equal(notes, ['a server dies: k3s-master-02, cut off'])
  assert.equal([row.what, row.target, row.how, row.leader, row.rescheduled], ['a server dies', 'k3s-master-02', 'cut off', 0.4, undefined])
  const whole = (performance.now() - from) / 1000
  assert.ok(row.away > 0.55 && row.away < whole, `away ${row.away}`)
  assert.ok(row.api.outage > 0.55 && row.api.outage < whole, `outage ${row.api.outage}`)
  assert.ok(row.api.failed > 0 && row.api.failed === row.api.why['connection refused'])
  assert.ok(row.api.requests > row.api.failed + 2, 'also before and after')
  assert.is(row.http.outage, 0)
  assert.ok(row.restored < whole, `restored ${row.restored}`)
})

test('ctrl-C gives back at once what was taken away, and is told', async () => {
  sshThat('true')
  const { take, notes, interrupt } = start()
  const error = await failure(take(async () => {
    setTimeout(() => interrupt.abort(), 50)
    await new Promise((_, reject) => interrupt.signal.addEventListener('abort', () => reject(interrupt.signal.reason as Error)))
    return {}
  }))
  assert.is(error.name, 'AbortError')
  assert.equal(done(), ['cut', 'undo'])
  assert.is(notes[1], 'Interrupted: k3s-master-02 is given back first. ctrl-C once more ends at once; it then comes back by itself within 180 s.')
})

test('ctrl-C in the middle of the cut gives back too', async () => {
  sshThat('exec sleep 30')
  const { take, interrupt } = start()
  const taking = failure(take(never))
  await eventually('it cuts', () => done().includes('cut'))
  interrupt.abort()
  assert.is((await taking).name, 'AbortError')
  assert.equal(done(), ['cut', 'undo'])
})

test('an exception gives back, and is told', async () => {
  sshThat('true')
  const { take } = start()
  assert.is((await failure(take(async () => { throw new Error('the world is round') }))).message, 'the world is round')
  assert.equal(done(), ['cut', 'undo'])
})

test('a cut that fails half-way is taken back', async () => {
  sshThat('echo iptables: no such table >&2; exit 1')
  const { take } = start()
  assert.match((await failure(take(never))).message, /iptables: no such table/)
  assert.equal(done(), ['cut', 'undo'])
})

test('giving back is tried until it succeeds', async () => {
  sshThat('true', `if [[ $(grep -c undo ${log}) -lt 3 ]]; then echo 'No route to host' >&2; exit 255; fi`)
  const { take, notes } = start()
  await take(async () => ({}))
  assert.equal(done(), ['cut', 'undo', 'undo', 'undo'])
  assert.is(notes.length, 2)
  assert.match(notes[1]!, /^k3s-master-02 could not be given back yet: unreachable: .*\nNo route to host/)
})

test('a node that is back is waited for until the cluster knows', async () => {
  sshThat('true')
  const seen: unknown[] = []
  const { take } = start({ faults: async (_, returning) => (seen.push(returning?.lease) < 3 ? ['k3s-master-02 is not back yet'] : []) })
  await take(async () => ({}))
  assert.equal(seen.slice(0, 3), ['then', 'then', 'then'])
})

test('where it cannot be given back, the commands for it are told', async () => {
  sshThat('true', 'echo gone >&2; exit 255')
  const { take } = start({ patience: 0.5 })
  const { message } = await failure(take(async () => ({})))
  assert.is(message, `k3s-master-02 could not be given back in 0.5 s:
  unreachable: ssh ops@10.0.0.101 exit 255
  gone  Hint: ssh -v ops@10.0.0.101
It comes back by itself 180 s after the cut, unless it cannot. By hand:
  ssh ops@10.0.0.101 sudo bash /run/keybuzz-drill/restore`)
})

test('where not all is well afterwards, what is not is told', async () => {
  sshThat('true')
  const { take } = start({ patience: 0.5, faults: async () => ['k3s-master-02 is not Ready', 'etcd has 2 voters instead of 3'] })
  const { message } = await failure(take(async () => { throw new Error('the world is round') }))
  assert.is(message, `the world is round
What was done to k3s-master-02 is taken back, and 0.5 s later not all is well:
  k3s-master-02 is not Ready
  etcd has 2 voters instead of 3
Look at it, then mend it with 09_k3s_apply_all:
  ssh ops@10.0.0.101 sudo systemctl status k3s
  ssh ops@10.0.0.101 sudo journalctl -u k3s -e`)
})

test('a cluster that did not get over the loss has failed, once all is given back', async () => {
  sshThat('true')
  const { take } = start()
  const { message } = await failure(take(async () => ({ problem: 'no other server led etcd within 60 s' })))
  assert.is(message, 'a server dies (k3s-master-02, cut off): no other server led etcd within 60 s')
  assert.equal(done(), ['cut', 'undo'])
})

test.run()
