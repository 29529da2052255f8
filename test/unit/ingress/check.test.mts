import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { compareBalancer, compareTarget, ownBalancers } from '../../../lib/ingress/balancers.mts'
import { explain, parseNode, parsePod, type Evidence, type PodState } from '../../../lib/ingress/causes.mts'
import {
  checkInWords, checkOf, count, renderWatch, timesInWords, turnInWords, untilVerdict, verdictInWords, windowOf, type Tally
} from '../../../lib/ingress/check.mts'
import type { LoadBalancer } from '../../../lib/reach/hetzner.mts'
import { readInventory, type Host } from '../../../lib/input/inventory.mts'
import type { Answer } from '../../../lib/reach/http.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'

const good: Answer = { status: 200, body: '', milliseconds: 1.26 }
const bad: Answer = { status: 503, body: '', milliseconds: 2 }
const refused: Answer = { error: 'connection refused', milliseconds: 0.4 }

const settingsWith = (ingress: Partial<Settings['ingress']>): Settings => {
  const settings = defaultSettings()
  return { ...settings, ingress: { ...settings.ingress, ...ingress } }
}
const check = checkOf(defaultSettings())

const tallyOf = (answers: Answer[], retries: number): Tally =>
  answers.reduce<Tally | undefined>((tally, answer, index) => count(tally, answer, retries, index * 1000), undefined)!

const verdicts = (answers: Answer[], retries: number): string[] =>
  answers.map((_, index) => verdictInWords(tallyOf(answers.slice(0, index + 1), retries), retries))

test('the check as the settings have it, in words', () => {
  assert.is(checkInWords(check), 'GET /healthz on port 80, no Host header, every 15 s')
  const other = settingsWith({ client_address: 'proxy-protocol', health_check: { path: '/ok', host: 'lb.example.com', interval: 1, timeout: 1, retries: 2 } })
  assert.is(checkInWords(checkOf(other)), 'GET /ok on port 80, with PROXY protocol, Host: lb.example.com, every 1 s')
})

test('how long a load balancer takes: each failing check may take its timeout, a passing one takes no time', () => {
  assert.equal(windowOf(check), { out: 75, back: 45 })
})

test('the times of some probes: what was answered, the median, the least and the most', () => {
  assert.is(timesInWords([good, { ...good, milliseconds: 0.94 }, { ...good, milliseconds: 12.4 }]), '200 in 1.3 ms (0.9 to 12, 3 probes)')
  assert.is(timesInWords([bad, refused]), '503, connection refused in 2.0 ms (0.4 to 2.0, 2 probes)')
})

test('a verdict turns after as many results in a row as retries say, either way', () => {
  assert.equal(verdicts([good, good, good, bad, bad, good, bad, bad, bad, bad, good, good, good], 3), [
    'unknown, 1 of 3 passed', 'unknown, 2 of 3 passed', 'healthy',
    'healthy, 1 of 3 failed', 'healthy, 2 of 3 failed', 'healthy',
    'healthy, 1 of 3 failed', 'healthy, 2 of 3 failed', 'unhealthy', 'unhealthy',
    'unhealthy, 1 of 3 passed', 'unhealthy, 2 of 3 passed', 'healthy'
  ])
  assert.equal(verdicts([refused, bad], 1), ['unhealthy', 'unhealthy'])
})

test('since when: the moment of the turn, not of the last result', () => {
  assert.is(tallyOf([good, good, good, good], 2).since, 1000)
  assert.is(tallyOf([good, good, bad, bad, bad], 2).since, 3000)
})

test('only 200 counts, and the last thirty are kept', () => {
  const tally = tallyOf([...Array.from({ length: 30 }, () => good), { ...good, status: 301 }], 2)
  assert.is(tally.history.length, 30)
  assert.equal(tally.history.slice(-2), [true, false])
})

// The check's port is 80, so these ask an address of this machine where nothing listens there.
test('checks until they agree, and until the time is over', async () => {
  const quick = { ...check, retries: 2, timeout: 1 }
  const signal = new AbortController().signal
  const seen = await untilVerdict('127.0.0.80', quick, false, { seconds: 5, signal })
  assert.ok(seen)
  assert.is.not(seen.answer.status, 200)
  assert.ok(seen.seconds < 5)
  assert.is(await untilVerdict('127.0.0.80', quick, true, { seconds: 0.3, signal }), undefined)
  const stopped = await untilVerdict('127.0.0.80', quick, true, { seconds: 5, signal: AbortSignal.abort() }).catch((error: Error) => error.name)
  assert.is(stopped, 'AbortError')
})

const tallies = new Map<string, Tally | undefined>([
  ['k3s-master-01', tallyOf([good, good, good], 2)],
  ['k3s-worker-02', tallyOf([good, good, good, bad], 2)],
  ['k3s-worker-03', tallyOf([good, good, refused, refused], 2)],
  ['k3s-worker-04', tallyOf([refused], 2)],
  ['k3s-worker-05', undefined]
])
const two = { ...check, retries: 2 }

test('the table of --watch', () => {
  assert.equal(renderWatch(tallies, two, 75_000, { colour: false, columns: 120 }), [
    'NODE           VERDICT                   LAST             MS   SINCE  LAST 30',
    'k3s-master-01  healthy                   200             1.3   1 min  ···',
    'k3s-worker-02  healthy, 1 of 2 failed    503             2.0   1 min  ···✗',
    'k3s-worker-03  unhealthy                 refused         0.4   1 min  ··✗✗',
    'k3s-worker-04  unknown, 1 of 2 failed    refused         0.4          ✗',
    'k3s-worker-05  is asked'
  ])
})

test('the table of --watch in colour, and cut to the width of the terminal', () => {
  const [, , second, third] = renderWatch(tallies, two, 75_000, { colour: true, columns: 120 })
  assert.is(second, 'k3s-worker-02  \u001b[32mhealthy\u001b[39m, 1 of 2 failed    503             2.0   1 min  ···\u001b[31m✗\u001b[39m')
  assert.is(third, 'k3s-worker-03  \u001b[31munhealthy\u001b[39m                 refused         0.4   1 min  ··\u001b[31m✗\u001b[39m\u001b[31m✗\u001b[39m')
  assert.equal(renderWatch(tallies, two, 75_000, { colour: false, columns: 30 }).map(({ length }) => length <= 30), Array(6).fill(true))
})

test('what went wrong is brief in the table', () => {
  const last = (error: string): string =>
    renderWatch(new Map([['n', tallyOf([{ error, milliseconds: 1 }], 2)]]), two, 0, { colour: false, columns: 120 })[1]!.slice(32, 45).trim()
  assert.equal([
    'connected, but no answer within 10000 ms', 'no connection within 10000 ms', 'connection reset without an answer',
    'connection closed within the header', 'no HTTP: "SSH-2.0"', 'no route to the address', 'something else entirely'
  ].map(last), ['no answer', 'no connection', 'reset', 'closed', 'no HTTP', 'no route', 'something els'])
})

test('a verdict that turned is one line', () => {
  assert.is(turnInWords('k3s-worker-03', tallyOf([good, refused, refused], 2)), 'k3s-worker-03 is unhealthy: connection refused, 2 in a row')
})

// ---- causes ----

const node = { listeners: [{ name: 'nginx', pid: 812, inPod: true, stopped: false }], drains: false, ready: '200', inside: '200' }
const pod: PodState = { name: 'nginx-ingress-x7', leaving: false, running: true, reason: 'Running' }
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

const podJson = (name: string, status: object, deleted = false): object =>
  ({ metadata: { name, ...(deleted ? { deletionTimestamp: '2026-11-23T10:00:00Z' } : {}) }, status: { phase: 'Running', ...status } })

test('the pod of a node is read: the one that stays, and why it does not run', () => {
  const crashing = {
    containerStatuses: [{
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 5m0s' } },
      lastState: { terminated: { exitCode: 1, reason: 'Error', message: 'line\nbind() to 0.0.0.0:80 failed\n' } }
    }]
  }
  const leaving = podJson('old', { containerStatuses: [{ state: { running: {} } }] }, true)
  assert.equal(parsePod(JSON.stringify({ items: [leaving, podJson('new', crashing)] })), {
    name: 'new', leaving: false, running: false, reason: 'CrashLoopBackOff: ended with exit code 1: bind() to 0.0.0.0:80 failed'
  })
  const pending = { phase: 'Pending', conditions: [{ status: 'True' }, { status: 'False', message: 'no port is free' }] }
  assert.is(parsePod(JSON.stringify({ items: [podJson('p', pending)] }))?.reason, 'Pending: no port is free')
  assert.is(parsePod('{"items":[]}'), undefined)
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
  assert.is(nothing({ ...pod, running: false, reason: 'ImagePullBackOff' }), 'connection refused: nothing listens on port 80: its pod '
    + 'nginx-ingress-x7 does not run: ImagePullBackOff | kubectl -n nginx-ingress logs --previous nginx-ingress-x7')
  assert.match(nothing({ ...pod, leaving: true }), /its pod nginx-ingress-x7 is leaving \| wait/)
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
  assert.match(words({ node: { ...node, drains: true }, pod: { ...pod, leaving: true } }), /for its pod is being replaced or moved \| wait/)
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

// ---- load balancers ----

const hosts: Host[] = (await readInventory(join(import.meta.dirname, '../../../servers.tsv'))).hosts
const balancer: LoadBalancer = {
  id: 1, name: 'lb-keybuzz-1', addresses: ['10.0.0.5', '198.51.100.5'], emptySelectors: [],
  services: [80, 443].map((listenPort) => ({
    protocol: listenPort === 80 ? 'http' : 'https', listenPort, destinationPort: 80, proxyProtocol: false,
    check: {
      protocol: 'http', port: 80, interval: 15, timeout: 10, retries: 3,
      http: { domain: '', path: '/healthz', response: '', statusCodes: ['200'], tls: false }
    }
  })),
  targets: hosts.map(({ name, address }) => ({
    address, name, usePrivate: true, selector: '', health: [80, 443].map((port) => ({ port, status: 'healthy' }))
  }))
}
const [first] = balancer.services
const withService = (service: object, checks: object = {}): LoadBalancer =>
  ({ ...balancer, services: [{ ...first!, ...service, check: { ...first!.check, ...checks } }] })
const withHttp = (http: object): LoadBalancer => withService({}, { http: { ...first!.check.http, ...http } })
const compare = (one: LoadBalancer, ingress: Partial<Settings['ingress']> = {}): string[] => compareBalancer(one, settingsWith(ingress), hosts)

test('the load balancers of the settings are found by their addresses, and what is missing is told', () => {
  assert.equal(ownBalancers([balancer], ['10.0.0.5', '10.0.0.6']), {
    own: [balancer],
    missing: ["no load balancer has the address 10.0.0.6; the token's project has lb-keybuzz-1 (10.0.0.5, 198.51.100.5)"]
  })
  assert.equal(ownBalancers([], ['10.0.0.6']).missing, ["no load balancer has the address 10.0.0.6; the token's project has none"])
})

test('a load balancer that is configured as the settings say', () => {
  assert.equal(compare(balancer), [])
})

test('each number that differs is told beside its setting', () => {
  assert.equal(compare(withService({}, { interval: 5, timeout: 3, retries: 2 })), [
    'port 80: interval is 5, ingress.health_check.interval says 15',
    'port 80: timeout is 3, ingress.health_check.timeout says 10',
    'port 80: retries is 2, ingress.health_check.retries says 3'
  ])
})

test('what the check asks for', () => {
  assert.equal(compare(withHttp({ path: '/', domain: 'example.com' })), [
    'port 80: the path is /, ingress.health_check.path says /healthz',
    'port 80: the domain is example.com, ingress.health_check.host says none'
  ])
  assert.equal(compare(withHttp({ statusCodes: ['2??', '3??'] })), ['port 80: counts 2??, 3?? as healthy: let it count 200 alone'])
  assert.equal(compare(withHttp({ response: 'ok' })), ['port 80: expects the text "ok" in the answer, which has none: take it out'])
  assert.equal(compare(withHttp({ tls: true })), ["port 80: checks with TLS, and the nodes' port 80 speaks plain HTTP: turn it off"])
  assert.equal(compare(withService({}, { port: 443, protocol: 'tcp', http: undefined })), [
    'port 80: checks port 443: let it check 80',
    'port 80: the check is tcp, which proves an open port only: make it http'
  ])
})

test('how the client\'s address gets to the nodes', () => {
  assert.equal(compare(withService({ proxyProtocol: true })), [
    'port 80: the PROXY protocol is on, ingress.client_address is x-forwarded-for: with one end only every request fails'
  ])
  assert.equal(compare(withService({ protocol: 'tcp' }), { client_address: 'proxy-protocol' }), [
    'port 80: the PROXY protocol is off, ingress.client_address is proxy-protocol: with one end only every request fails'
  ])
  assert.equal(compare(withService({ protocol: 'tcp', proxyProtocol: true }), { client_address: 'proxy-protocol' }), [])
  assert.equal(compare(withService({ protocol: 'tcp' })), [
    "port 80: passes TCP through, so there is no X-Forwarded-For, which ingress.client_address asks for: the clients' addresses are lost"
  ])
  assert.equal(compare(withService({ destinationPort: 443 })), ['port 80: speaks plain HTTP to port 443 of the nodes: send it to 80'])
})

test('services to other ports are none of ours', () => {
  assert.equal(compare({ ...balancer, services: [...balancer.services, { ...first!, listenPort: 25, destinationPort: 25, protocol: 'tcp' }] }), [])
  assert.equal(compare(withService({ destinationPort: 8080 })), ['no service sends to port 80 or 443 of the nodes: add one'])
})

test('targets that are no node, and label selectors that choose none', () => {
  const stranger = { name: 'web-7', address: '10.0.0.77', usePrivate: true, selector: '', health: [] }
  const targets = [
    ...balancer.targets, stranger, { ...stranger, selector: 'role=k3s' }, { ...stranger, address: '', name: 'server 999' },
    { ...stranger, name: '10.0.0.78', address: '10.0.0.78' }
  ]
  assert.equal(compare({ ...balancer, targets, emptySelectors: ['role=k8s'] }), [
    'target web-7 (10.0.0.77) is no node of servers.tsv: take it out',
    'target web-7 (10.0.0.77) is no node of servers.tsv: the label selector role=k3s chooses it',
    'target server 999 is no node of servers.tsv: take it out',
    'target 10.0.0.78 is no node of servers.tsv: take it out',
    "the label selector role=k8s chooses no server: correct it, or the servers' labels"
  ])
})

const host = hosts[0]!
const window = windowOf(check)
const target = (status: string, over: object = {}): LoadBalancer => ({
  ...balancer,
  targets: [{ ...balancer.targets[0]!, health: [{ port: 80, status }, { port: 443, status: 'healthy' }, { port: 25, status: 'unhealthy' }], ...over }]
})

test('a node as the load balancers see it', () => {
  assert.equal(compareTarget(host, [balancer, target('healthy')], true, window), {
    differs: [], evidence: ['lb-keybuzz-1: 80 healthy, 443 healthy', 'lb-keybuzz-1: 80 healthy, 443 healthy']
  })
  assert.equal(compareTarget(host, [{ ...balancer, targets: [] }], true, window).differs, ['is no target of lb-keybuzz-1: add it there'])
})

test('a node that the load balancers see otherwise than the bastion', () => {
  const seen = (http: string, https: string, passed: boolean): string[] =>
    compareTarget(host, [target('', { health: [{ port: 80, status: http }, { port: 443, status: https }] })], passed, window).differs
  const back = 'though the check is answered 200 from here: within 45 s it should be taken back; else look at what that one '
    + 'checks, and from which address'
  assert.equal(seen('unhealthy', 'healthy', true), [`is unhealthy on 80 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unhealthy', true), [`is unhealthy on 80 and 443 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unknown', true), [`is unhealthy on 80, unknown on 443 for lb-keybuzz-1, ${back}`])
  assert.equal(seen('unhealthy', 'unhealthy', false), [])
  assert.equal(seen('healthy', 'unhealthy', false), [`is healthy on 80 for lb-keybuzz-1, though the check fails from here: `
    + 'within 75 s it should be let go; else look at what that one checks'])
  const outside = target('healthy', { address: host.publicAddress, usePrivate: false })
  assert.equal(compareTarget(host, [outside], true, window).differs, [
    'is reached by lb-keybuzz-1 over its public address: turn use_private_ip on'
  ])
})

test.run()
