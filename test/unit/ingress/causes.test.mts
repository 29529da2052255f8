import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Pod } from '../../../lib/cluster/pods.mts'
import type { Evidence } from '../../../lib/ingress/causes.mts'
import { checkOf } from '../../../lib/ingress/check.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { defaultSettings } from '../../../lib/input/settings.mts'
import type { Answer } from '../../../lib/reach/http.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'
import { useFakeSsh } from '../../support/fake-ssh.mts'

const folder = useFakeSsh()
const { askNode, explain, parseNode, podOn } = await import('../../../lib/ingress/causes.mts')
const { createSsh } = await import('../../../lib/reach/ssh.mts')

const good: Answer = { status: 200, body: '', milliseconds: 1.26 }
const bad: Answer = { status: 503, body: '', milliseconds: 2 }
const refused: Answer = { error: 'connection refused', milliseconds: 0.4 }
const check = checkOf(defaultSettings())
// The check's port is 80. Nothing listens there on this address of this machine.
const host: Host = {
  name: 'k3s-worker-05', address: '127.0.0.80', publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: '', pool: 'general', line: 2
}
const node = { listeners: [{ name: 'nginx', pid: 812, inPod: true, stopped: false }], drains: false, ready: '200', inside: '200' }
const podWith = (status: Pod['status'], metadata: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: 'nginx-ingress-x7', namespace: 'nginx-ingress', uid: '', creationTimestamp: '', ...metadata }, spec: {}, status
})
const pod = podWith({ phase: 'Running', containerStatuses: [{ name: 'nginx-ingress', ready: true, state: { running: {} } }] })
const leavingPod = podWith(pod.status, { deletionTimestamp: '2026-11-23T10:00:00Z' })
const evidence = (over: Partial<Evidence>): Evidence =>
  ({ answer: bad, otherWay: bad, proxyProtocol: false, path: '/healthz', node, pod, ...over })
const words = (over: Partial<Evidence>): string => {
  const { words: what, hint } = explain(evidence(over))
  return `${what} | ${hint}`
}

test('what a node prints is read', () => {
  assert.equal(parseNode(
    'listener nginx 812 pod S\nlistener docker-proxy 33 host T\ndrains\nready HTTP/1.1 503 Service Unavailable\r\ninside bash: connect: Connection refused\n'
  ), {
    listeners: [
      { name: 'nginx', pid: 812, inPod: true, stopped: false }, { name: 'docker-proxy', pid: 33, inPod: false, stopped: true }
    ],
    drains: true, ready: '503', inside: 'Connection refused'
  })
  assert.equal(parseNode('ready \ninside \n'), { listeners: [], drains: false, ready: 'no answer', inside: 'no answer' })
})

test('the pod of a node is the one that stays; where the API does not answer its words stand for it', async () => {
  const asked: string[] = []
  const podsOf = (...items: Pod[]) => podOn(fakeKubectl((command) => {
    asked.push(command)
    return JSON.stringify({ items })
  }), host)
  const leaving = podWith({ phase: 'Running' }, { name: 'old', deletionTimestamp: '2026-11-23T10:00:00Z' })
  assert.equal(await podsOf(leaving, pod), pod)
  assert.equal(await podsOf(leaving), leaving)
  assert.is(await podsOf(), undefined)
  assert.is(asked[0], 'get pods -n nginx-ingress -l app=nginx-ingress --field-selector spec.nodeName=k3s-worker-05 -o json')
  assert.is(await podOn(fakeKubectl(() => Promise.reject(new Error('the API is away'))), host), 'the API is away')
})

test('a node is asked over ssh who has port 80, and what it answers itself', async () => {
  writeFileSync(join(folder, 'ss'), `#!/bin/sh\necho 'LISTEN 0 511 0.0.0.0:80 0.0.0.0:* users:(("my nginx",pid=${process.pid},fd=6))'\n`)
  chmodSync(join(folder, 'ss'), 0o755)
  const { listeners, drains, inside } = (await askNode(createSsh(), host, check))!
  assert.equal(listeners.map(({ name, pid, inPod, stopped }) => [name, pid, inPod, stopped]), [['mynginx', process.pid, false, false]])
  assert.is(drains, false)
  assert.match(inside, /Connection refused/)
  assert.is(await askNode(createSsh(), { ...host, address: '192.0.2.255' }, check), undefined)
})

test('the machine is down', () => {
  assert.is(words({ node: undefined, answer: { error: 'no connection within 10000 ms', milliseconds: 1 } }),
    'no connection within 10000 ms, and ssh does not reach the node either | the machine or its network is down: look at its console')
})

test('another process has port 80', () => {
  const taken = (name: string, inPod: boolean) => ({ ...node, listeners: [{ name, pid: 77, inPod, stopped: false }] })
  assert.is(words({ node: taken('apache2', false), answer: { ...bad, status: 404 } }),
    '404: port 80 is taken by apache2 (pid 77), which is no pod | systemctl status 77, on the node, says what it belongs to: stop and disable it')
  assert.match(words({ node: taken('nginx', false) }), /port 80 is taken by nginx \(pid 77\), which is no pod/)
  assert.match(words({ node: taken('traefik', true) }), /port 80 is taken by traefik \(pid 77\), in another pod/)
  assert.match(words({ node: taken('docker-proxy', false) }), /docker ps, on the node/)
})

test('nothing listens on port 80, and why', () => {
  const nothing = (of: Evidence['pod']) => words({ answer: refused, node: { ...node, listeners: [] }, pod: of })
  assert.is(nothing(undefined), 'connection refused: nothing listens on port 80: the node has no ingress pod | run 09_k3s_05')
  assert.is(nothing(podWith({ phase: 'Pending', containerStatuses: [{ name: 'nginx-ingress', ready: false, state: { waiting: { reason: 'ImagePullBackOff' } } }] })), 'connection refused: nothing listens on port 80: its pod '
    + 'nginx-ingress-x7 does not run: ImagePullBackOff | kubectl -n nginx-ingress logs --previous nginx-ingress-x7')
  const crashed = podWith({
    phase: 'Running',
    containerStatuses: [{
      name: 'nginx-ingress',
      ready: false,
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 5m0s' } },
      lastState: { terminated: { exitCode: 1, reason: 'Error', message: 'line\nbind() to 0.0.0.0:80 failed\n' } }
    }]
  })
  assert.match(nothing(crashed), /does not run: CrashLoopBackOff: ended with exit code 1: bind\(\) to 0\.0\.0\.0:80 failed \|/)
  assert.match(nothing(leavingPod), /its pod nginx-ingress-x7 is leaving \| wait/)
  assert.match(nothing(pod), /though its pod nginx-ingress-x7 runs \| kubectl -n nginx-ingress logs nginx-ingress-x7$/)
  assert.match(nothing('connection refused'), /the API does not say what became of its pod: connection refused/)
})

test('the PROXY protocol is on at one end only', () => {
  const remedy = "turn it on at both ends or at none: ingress.client_address (then 09_k3s_05), and the load balancers' services"
  const closed = { error: 'connection closed without an answer', milliseconds: 1 }
  assert.is(words({ answer: closed, otherWay: good }),
    `connection closed without an answer: nginx answers only with the PROXY protocol | ${remedy}`)
  assert.is(words({ answer: { ...bad, status: 400 }, otherWay: good, proxyProtocol: true }),
    `400: nginx answers only without the PROXY protocol | ${remedy}`)
})

test('nginx hangs, or something on the way drops it', () => {
  const late = { error: 'connected, but no answer within 1000 ms', milliseconds: 1000 }
  assert.is(words({ answer: late, node: { ...node, inside: 'no answer', listeners: [{ ...node.listeners[0]!, stopped: true }] } }),
    'connected, but no answer within 1000 ms: nginx has been stopped by a signal | kill -CONT 812, on the node')
  assert.match(words({ answer: late, node: { ...node, inside: 'no answer' } }), /nginx has the port and does not answer/)
  assert.is(words({ answer: { error: 'no connection within 1000 ms', milliseconds: 1000 } }),
    'no connection within 1000 ms, though the node itself is answered 200: something between drops it | '
    + '09_k3s_01 opens 80 and 443 on the node; look at the firewall of the hosting network too')
})

test('503: it drains, by hand or because its pod is replaced', () => {
  assert.is(words({ node: { ...node, drains: true } }), '503: the node drains, for somebody has put /tmp/drain there | '
    + 'kubectl -n nginx-ingress exec nginx-ingress-x7 -- rm /tmp/drain takes it back')
  assert.match(words({ node: { ...node, drains: true }, pod: leavingPod }), /for its pod is being replaced or moved \| wait/)
  assert.match(words({ node: { ...node, drains: true }, pod: 'no API' }), /exec POD -- rm/)
})

test('503 and 504: the controller has not loaded a configuration, or hangs', () => {
  assert.match(words({ node: { ...node, ready: '503' } }), /^503: the controller has not loaded a configuration \(\/nginx-ready: 503\) \| its log/)
  assert.match(words({ answer: { ...bad, status: 504 }, node: { ...node, ready: 'no answer' } }),
    /^504: the controller does not answer on 8081 \(\/nginx-ready: no answer\)/)
})

test('404: nginx does not know the check; and anything else', () => {
  assert.is(words({ answer: { ...bad, status: 404 } }),
    '404: nginx has no /healthz for this request | run 09_k3s_05: it writes the check as ingress.health_check says')
  assert.match(words({ answer: { ...bad, status: 301 } }), /^301, expected 200 \|/)
})

test.run()
