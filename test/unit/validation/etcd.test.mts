import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { EtcdState } from '../../../lib/node/etcd.mts'
import { createSsh, type Ssh } from '../../../lib/reach/ssh.mts'
import { hasOneLeader, hasSoundEtcd, judgeEtcd, type EtcdStates } from '../../../lib/validation/etcd.mts'

const servers = ['a', 'b', 'c'].map((name, index): Host => ({
  name: `master-${name}`, address: `10.0.0.10${index}`, publicAddress: '', user: 'ops', fqdn: '', role: 'server', stack: '', pool: 'x', line: 2
}))
const well: EtcdState = {
  leads: true, hasLeader: true, isLearner: false, healthy: true, size: 40 * 2 ** 20, quota: 2048 * 2 ** 20, fsyncP99: 0.008, leaderChanges: 3
}
const seen = '= leads; 40 MiB of 2048 MiB; 99 of 100 fsyncs within 8 ms; leader changes seen: 3'

test('a sound etcd is evidence only', () => {
  assert.equal(judgeEtcd(well, 10), [seen])
  assert.match(judgeEtcd({ ...well, leads: false }, 10)[0]!, /^= follows; /)
})

test('each fault of an etcd is told', () => {
  const faults = (over: Partial<EtcdState>): string[] => judgeEtcd({ ...well, ...over }, 10).slice(1)
  assert.equal(faults({ healthy: false }), ['is not healthy: it has no leader'])
  assert.equal(faults({ hasLeader: false }), ['is not healthy: it has no leader'])
  assert.equal(faults({ isLearner: true }), ['is a learner still, and does not vote'])
  assert.equal(faults({ size: 1639 * 2 ** 20 }), ['is almost full: at its quota the cluster turns read-only'])
  assert.equal(faults({ fsyncP99: 0.02 }), [])
  assert.equal(faults({ fsyncP99: 0.032 }), ['its disk is slow: 99 of 100 fsyncs are to end within 10 ms'])
})

// What each server's etcd prints, by the server's name; one that is not there does not answer.
const runOf = (says: Record<string, string>) => {
  const asked: string[] = []
  const capture: Ssh['capture'] = async ({ name }) => {
    asked.push(name)
    const said = says[name]
    if (said === undefined) throw new Error(`${name} does not answer`)
    return said
  }
  return { run: { ssh: { ...createSsh(), capture }, settings: defaultSettings(), servers }, asked }
}
const leads = 'etcd_server_is_leader 1\netcd_server_has_leader 1\n{"health":"true"}\n'
const follows = leads.replace('leader 1', 'leader 0')
const checkOf = ({ check }: { check: string | (() => Promise<string>) }): Promise<string> =>
  typeof check === 'function' ? check() : Promise.reject(new Error('the check is shell'))

test('what a server tells is kept, so that no server is asked twice', async () => {
  const { run, asked } = runOf({ 'master-a': leads, 'master-b': follows, 'master-c': follows })
  const states: EtcdStates = new Map()
  assert.match(await checkOf(hasSoundEtcd(servers[0]!, run, states)), /^= leads; /)
  assert.is(await checkOf(hasOneLeader(run, states)), '= master-a leads')
  assert.equal(asked, ['master-a', 'master-b', 'master-c'])
})

test('a server that does not answer does not vote, and each leader is counted', async () => {
  const one = runOf({ 'master-a': follows, 'master-b': leads })
  assert.is(await checkOf(hasOneLeader(one.run, new Map())), '= master-b leads\n2 of 3 vote')
  assert.match(await checkOf(hasSoundEtcd(servers[2]!, one.run, new Map())).catch((error: Error) => error.message), /master-c does not answer/)
  const two = runOf({ 'master-a': leads, 'master-b': leads, 'master-c': follows })
  assert.is(await checkOf(hasOneLeader(two.run, new Map())), '= master-a, master-b leads\n2 leaders')
  const none = runOf({ 'master-a': follows, 'master-b': follows, 'master-c': follows })
  assert.is(await checkOf(hasOneLeader(none.run, new Map())), '= nobody leads\n0 leaders')
})

test('by hand every server is asked, as its own user', () => {
  const { look } = hasOneLeader(runOf({}).run, new Map())
  assert.match(look, /^for server in ops@10\.0\.0\.100 ops@10\.0\.0\.101 ops@10\.0\.0\.102; do$/m)
})

test.run()
