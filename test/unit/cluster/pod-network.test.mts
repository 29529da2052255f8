import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { podMatrix, resolveEverywhere, toldOnce } from '../../../lib/cluster/pod-network.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { hostOf } from '../../support/hosts.mts'
import { commands } from '../../support/node-shell.mts'

const [a, b, c] = [hostOf('a'), hostOf('b'), hostOf('c')]

const pod = ({ name }: Host, index: number, ready = true) => ({
  metadata: { name: `netcheck-${name}` },
  spec: { nodeName: name },
  status: { phase: 'Running', podIP: `10.42.${index}.2`, conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] }
})

type Cluster = {
  hosts?: Host[]
  unready?: Host[]
  /** Takes the words behind `kubectl exec POD --` and the pod. */
  exec: (words: string, pod: string) => Promise<string>
  dns?: string
}

const cluster = ({ hosts = [a, b, c], unready = [], exec, dns = '10.42.0.9 10.42.1.9' }: Cluster) => fakeKubectl(async (command) => {
  if (command.includes('get pods -n keybuzz-netcheck')) return JSON.stringify({ items: hosts.map((host, index) => pod(host, index, !unready.includes(host))) })
  if (command.includes('get service netcheck')) return '10.43.7.7'
  if (command.includes('k8s-app=kube-dns')) {
    const replica = (podIP: string) => ({ ...pod(a, 0), status: { ...pod(a, 0).status, podIP } })
    return JSON.stringify({ items: [...dns.split(' ').filter(Boolean).map(replica), { ...replica('10.42.9.9'), status: { ...pod(a, 0, false).status, podIP: '10.42.9.9' } }] })
  }
  const [, name = '', words = ''] = /^-n keybuzz-netcheck exec (\S+) -- ([^]*)$/.exec(command) ?? assert.unreachable(command) ?? []
  return exec(words, name)
})

// Runs in bash what kubectl would give to the pod's sh, with made-up wget and nslookup.
const inPod = (texts: Record<string, string>) => {
  const path = `${commands(texts)}:${process.env['PATH']}`
  return async (words: string): Promise<string> => (await promisify(execFile)('bash', ['-c', words], { env: { ...process.env, PATH: path } })).stdout
}

const packets = 'Hint: is 8472/udp open between the private addresses, in the firewall of the hosting network too?'

const block = 'head -c 65536 /dev/zero'
const wget = (cases: string): string => `case \${!#} in ${cases} *:8080/block) ${block};; http://10.43.7.7/name) printf %s $(shuf -n 1 -e a b c);; esac`

test('pods that reach one another, and the service that every node answers, are no fault', async () => {
  const answers = await podMatrix(cluster({ exec: inPod({ wget: wget('') }) }), [a, b])
  assert.equal(answers, new Map([['a', ''], ['b', '']]))
})

test('a pod that does not answer, or not in full, is told by its node and address', async () => {
  const cases = '*10.42.1.2:*) exit 1;; *10.42.2.2:*) head -c 1400 /dev/zero;;'
  const answers = await podMatrix(cluster({ exec: inPod({ wget: wget(cases) }) }), [a])
  assert.is(answers.get('a'), `no answer from the pod on b (10.42.1.2)\nno answer from the pod on c (10.42.2.2)\n${packets}`)
})

test('a service that only some nodes answer, and one that nobody answers, is told', async () => {
  const some = await podMatrix(cluster({ exec: inPod({ wget: wget('http://10.43.7.7/name) printf b;;') }) }), [a])
  assert.is(some.get('a'), `the service address 10.43.7.7 was answered by b only\n${packets}`)
  const none = await podMatrix(cluster({ exec: inPod({ wget: wget('http://10.43.7.7/name) exit 1;;') }) }), [a])
  assert.is(none.get('a'), `no answer from the service address 10.43.7.7\n${packets}`)
})

test('a pod that is not ready is told once, at its own node, with its own words and a hint that fits', async () => {
  const answers = await podMatrix(cluster({ unready: [c], exec: inPod({ wget: `${wget('')}`.replace('a b c', 'a b') }) }), [a, b, c])
  assert.equal(answers, new Map([
    ['a', '= without c: see there'], ['b', '= without c: see there'],
    ['c', `its netcheck pod is not ready: Running\nHint: kubectl -n keybuzz-netcheck describe pods; docs/workers.md, "Rebuild a node's containerd"`]
  ]))
})

test('a pod that cannot be asked is told, and the others are asked all the same', async () => {
  const kubectl = cluster({
    exec: async (_, name) => {
      if (name === 'netcheck-b') throw new Error('error dialing backend: dial tcp 10.0.0.101:10250: i/o timeout')
      return 'no answer from the service address 10.43.7.7\n'
    }
  })
  assert.equal(await podMatrix(kubectl, [a, b]), new Map([
    ['a', `= without b: see there\nno answer from the service address 10.43.7.7\n${packets}`],
    ['b', 'its pod could not be asked: error dialing backend: dial tcp 10.0.0.101:10250: i/o timeout\nHint: is 10250/tcp open from the servers to it, and its kubelet well?']
  ]))
})

test('a node that is known to be sick is not asked for, nor the service address, which goes on choosing its pod', async () => {
  const cases = '*10.42.2.2:*) exit 1;; http://10.43.7.7/name) exit 1;;'
  const answers = await podMatrix(cluster({ exec: inPod({ wget: wget(cases) }) }), [a, b], ['c'])
  assert.equal(answers, new Map([['a', '= without the pod on c, which is not well\n'], ['b', '= without the pod on c, which is not well\n']]))
})

const nobody = (...names: string[]): string => names.map((name) => `no answer from the pod on ${name} (10.42.0.2)`).join('\n')

test('a node that no other one reaches is told there alone, and what follows from it nowhere', () => {
  const told = toldOnce(new Map([
    ['a', { said: `${nobody('c')}\nno answer from the service address 10.43.7.7` }],
    ['b', { said: `${nobody('c')}\nthe service address 10.43.7.7 was answered by a b only` }],
    ['c', { said: `${nobody('a', 'b')}\nno answer from the service address 10.43.7.7` }]
  ]))
  assert.equal(told, new Map([
    ['a', '= without c: see there'], ['b', '= without c: see there'], ['c', `no other node reaches its pod\n${packets}`]
  ]))
})

test('a way that only one of two nodes lacks is told where it is missed', () => {
  const told = toldOnce(new Map([['a', { said: nobody('c') }], ['b', { said: '' }], ['c', { said: '' }]]))
  assert.equal(told, new Map([['a', `${nobody('c')}\n${packets}`], ['b', ''], ['c', '']]))
})

test('what is wrong beside a sick node is told all the same', () => {
  const told = toldOnce(new Map([['a', { said: `${nobody('b', 'c')}\nno answer from the service address x` }], ['b', { said: nobody('c') }], ['c', { said: nobody('a') }]]))
  assert.is(told.get('c'), `no other node reaches its pod\n${packets}`)
  assert.is(told.get('b'), '= without c: see there')
  assert.is(told.get('a'), `= without c: see there\n${nobody('b')}\nno answer from the service address x\n${packets}`)
})

test('a pod network that is closed everywhere is one line on each node', () => {
  const told = toldOnce(new Map([['a', { said: nobody('b', 'c') }], ['b', { said: nobody('a', 'c') }], ['c', { said: nobody('a', 'b') }]]))
  assert.equal([...told.values()], Array(3).fill(`no other node reaches its pod\n${packets}`))
})

test('an interruption is no answer of a pod', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  const kubectl = cluster({ exec: async () => { throw interrupted } })
  await podMatrix(kubectl, [a, b]).then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

const names = ['kubernetes.default.svc.cluster.local', 'example.com']

test('names are resolved through the service and at each replica, and that is the evidence', async () => {
  const answers = await resolveEverywhere(cluster({ exec: inPod({ nslookup: ':' }) }), [a], names)
  assert.is(answers.get('a')?.trim(), '= kubernetes.default.svc.cluster.local and example.com, by 2 of 2 replicas of CoreDNS')
})

test('a name that is not resolved is told, and at which replica', async () => {
  const answers = await resolveEverywhere(cluster({ exec: inPod({ nslookup: '[[ "$*" != example.com && $2 != 10.42.1.9 ]]' }) }), [a], names)
  assert.equal(answers.get('a')?.split('\n').slice(1).toSorted(), [
    'example.com is not resolved',
    'example.com is not resolved by CoreDNS at 10.42.1.9',
    'kubernetes.default.svc.cluster.local is not resolved by CoreDNS at 10.42.1.9'
  ])
})

test('a replica of CoreDNS on a node that is known to be sick is left out', async () => {
  const answers = await resolveEverywhere(cluster({ exec: inPod({ nslookup: '[[ $2 != 10.42.1.9 ]]' }) }), [b], names, ['a'])
  assert.is(answers.get('b'), `= without the pod on a, which is not well\n= ${names.join(' and ')}, by 0 of 0 replicas of CoreDNS\n`)
})

test('where there is no CoreDNS at all, none is counted', async () => {
  const answers = await resolveEverywhere(cluster({ dns: '', exec: inPod({ nslookup: 'false' }) }), [a], ['example.com'])
  assert.is(answers.get('a'), '= example.com, by 0 of 0 replicas of CoreDNS\nexample.com is not resolved')
})

test('an address that is none gets into no shell', async () => {
  const evil = '10.42.0.9;reboot'
  const scripts: string[] = []
  const exec = async (words: string): Promise<string> => (scripts.push(words), '')
  await resolveEverywhere(cluster({ dns: `$(reboot) 10.42.0.9 ${evil}`, exec }), [a], ['example.com'])
  const kubectl = fakeKubectl(async (command) => {
    if (command.includes('get service')) return '10.43.7.7'
    if (command.includes('get pods')) return JSON.stringify({ items: [pod(a, 0), { ...pod(b, 1), status: { ...pod(b, 1).status, podIP: evil } }] })
    return exec(command)
  })
  assert.match((await podMatrix(kubectl, [a, b])).get('b')!, /its netcheck pod is not ready/)
  assert.equal(scripts.filter((words) => words.includes('reboot')), [])
  assert.match(scripts.join('\n'), /for replica in 10\.42\.0\.9; do/)
  const service = fakeKubectl(async (command) => (command.includes('get service') ? 'None' : JSON.stringify({ items: [] })))
  await podMatrix(service, [a]).then(() => assert.unreachable(), (error: Error) => assert.is(error.message, 'the Service netcheck has no IPv4 address: "None"'))
})

test('of many replicas a pod asks eight, and all pods together each one', async () => {
  const replicas = Array.from({ length: 10 }, (_, index) => `10.42.${index}.9`)
  const asked: string[][] = []
  const kubectl = cluster({ dns: replicas.join(' '), exec: async (words) => (asked.push(words.match(/10\.42\.\d+\.9/g) ?? []), '') })
  const answers = await resolveEverywhere(kubectl, [a, b, c], ['example.com'])
  assert.match(answers.get('a')!, /^= example\.com, by 8 of 10 replicas of CoreDNS\n/)
  assert.equal(asked.map(({ length }) => length), [8, 8, 8])
  assert.equal([...new Set(asked.flat())].toSorted(), replicas)
})

test.run()
