import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { remembered } from '../../../lib/base/wait.mts'
import { getNodes, hasNoStaleNode, is, isReadyNode, knowsEveryNode, type Node } from '../../../lib/cluster/nodes.mts'
import { removeOldNetwork } from '../../../lib/node/k3s.mts'
import type { NodeStep } from '../../../lib/run/step.mts'
import { answeringSsh } from '../../support/answering-ssh.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { hostOf } from '../../support/hosts.mts'

const host = hostOf('k3s-worker-01', { address: '10.0.0.110', user: 'admin' })
const server = hostOf('k3s-master-01', { address: '10.0.0.100', role: 'server' })
const node = (name: string, conditions: NonNullable<Node['status']['conditions']> = []): Node =>
  ({ metadata: { name }, spec: {}, status: { conditions } })
const check = (step: NodeStep): Promise<string> => (step.check as () => Promise<string>)()

/** What a kubectl with these nodes is asked, and the nodes as the steps remember them. */
const cluster = (...items: Node[]) => {
  const asked: string[] = []
  const kubectl = fakeKubectl((command) => {
    asked.push(command)
    return command.startsWith('get') ? JSON.stringify({ items }) : ''
  })
  return { asked, kubectl, nodes: remembered(() => getNodes(kubectl)) }
}

test('nodes are read by name', async () => {
  const { kubectl, asked } = cluster(node('a'), node('b'))
  assert.equal([...(await getNodes(kubectl)).keys()], ['a', 'b'])
  assert.equal(asked, ['get nodes -o json'])
})

test('a condition is true only where it says True', () => {
  const one = node('a', [{ type: 'Ready', status: 'Unknown' }, { type: 'EtcdIsVoter', status: 'True' }])
  assert.equal([is(one, 'EtcdIsVoter'), is(one, 'Ready'), is(one, 'None'), is(undefined, 'Ready')], [true, false, false, false])
})

test('a Node that is not Ready is told in the words of its kubelet', async () => {
  const told = (...items: Node[]): Promise<string> => check(isReadyNode(host, cluster(...items).nodes))
  assert.is(await told(node('other', [{ type: 'Ready', status: 'True' }])), 'has not registered')
  assert.is(await told(node(host.name, [{ type: 'Ready', status: 'True', message: 'kubelet is posting ready status' }])), '')
  assert.is(await told(node(host.name, [{ type: 'Ready', status: 'False', message: 'cni plugin not initialized' }])), 'cni plugin not initialized')
  assert.is(await told(node(host.name)), 'is not')
})

test('the hint names the unit of the role', () => {
  assert.is(isReadyNode(host, cluster().nodes).hint, 'ssh admin@10.0.0.110 sudo journalctl -e -u k3s-agent')
  assert.is(isReadyNode(server, cluster().nodes).hint, 'ssh root@10.0.0.100 journalctl -e -u k3s')
})

const stale = (has: 'password' | 'no password', ...items: Node[]) => {
  const ssh = answeringSsh((script) => (script.startsWith('test -f') ? { exitCode: has === 'password' ? 0 : 1 } : ''))
  const found = cluster(...items)
  return { ...found, ssh, step: hasNoStaleNode(host, { ...found, ssh }, found.nodes) }
}

test('a Node is stale where the host has lost the password that it registered with', async () => {
  assert.is(await check(stale('no password').step), '')
  assert.is(await check(stale('password', node(host.name)).step), '')
  const { step, ssh } = stale('no password', node(host.name))
  assert.match(await check(step), /^its node password is gone/)
  assert.equal(ssh.asked.map(({ script }) => script), ['test -f /etc/rancher/node/password'])
})

test('a stale Node is deleted with its old network, and then looked for anew', async () => {
  const { step, ssh, asked, nodes } = stale('no password', node(host.name))
  await nodes.get()
  await (step.change as () => Promise<void>)()
  assert.equal(asked.slice(1), ['delete node k3s-worker-01 --timeout=60s'])
  assert.equal(ssh.asked.map((one) => [one.host, one.script]), [[host.name, removeOldNetwork]])
  await nodes.get()
  assert.is(asked.at(-1), 'get nodes -o json')
})

test('by hand the password is looked for too, as root', () => {
  const { look, byHand } = stale('password').step
  assert.match(look!, /^kubectl get node k3s-worker-01 .*\nssh admin@10\.0\.0\.110 sudo ls \/etc\/rancher\/node\/password$/)
  assert.match(byHand!, /^kubectl delete node k3s-worker-01 --timeout=60s\nssh admin@10\.0\.0\.110 'sudo ip link delete cni0;/)
})

const knows = async (answer: Parameters<typeof answeringSsh>[0]) => {
  const ssh = answeringSsh(answer)
  const second = hostOf('k3s-master-02', { address: '10.0.0.101', role: 'server' })
  const step = knowsEveryNode({ hosts: [server, second, host], servers: [server, second], ssh, sick: () => [] })
  return { step, said: await step.check() }
}

test('a node of the cluster that is not in servers.tsv is told by name, and refuses an apply from the plan on', async () => {
  const { step, said } = await knows(() => 'node/k3s-master-01\nnode/k3s-worker-05\nnode/k3s-worker-01\n')
  assert.is(said, '= 3 nodes\nk3s-worker-05 is a node of the cluster, and not in servers.tsv')
  assert.is(step.always, true)
  assert.match(step.hint ?? '', /docs\/workers\.md, "Remove a node for good"/)
  assert.match(step.look, /for server in root@10\.0\.0\.100 root@10\.0\.0\.101; do ssh "\$server" k3s kubectl/)
})

test('one server that answers is enough, and bare servers know of no node', async () => {
  const { said } = await knows((_, { name }) => {
    if (name === server.name) throw Object.assign(new Error('unreachable'), { name: 'Unreachable' })
    return 'node/k3s-master-02\n'
  })
  assert.is(said, '= 1 node')
  assert.is((await knows(() => '')).said, '= no server knows of any node')
  assert.is((await knows(() => ({ exitCode: 1, stdout: 'node/half' }))).said, '= no server knows of any node', 'an API that fails halfway')
})

test('an interruption is no answer of a server', async () => {
  const interrupted = Object.assign(new Error('interrupted'), { name: 'AbortError' })
  await knows(() => { throw interrupted }).then(() => assert.unreachable(), (error: unknown) => assert.is(error, interrupted))
})

test.run()
