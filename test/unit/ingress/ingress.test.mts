import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parse, parseAllDocuments } from 'yaml'
import { canaryByHand, canaryFaults, manifestValues, updateTimes } from '../../../lib/ingress/ingress.mts'
import type { Host } from '../../../lib/input/inventory.mts'
import { readManifest } from '../../../lib/cluster/objects.mts'
import { defaultSettings, type Settings } from '../../../lib/input/settings.mts'
import { fakeKubectl } from '../../support/fake-kubectl.mts'

const settings = (ingress: Partial<Settings['ingress']> = {}): Settings => {
  const defaults = defaultSettings()
  return { ...defaults, ingress: { ...defaults.ingress, ...ingress } }
}
type Config = { data: Record<string, string> }
const configOf = async (of: Settings): Promise<Record<string, string>> =>
  (parseAllDocuments(await readManifest('05_ingress/config.yaml', manifestValues(of).config))[1]!.toJS() as Config).data

test('a pod leaves only when the slowest load balancer has let go of it, and is ended only after that', () => {
  const { drain, minReady, grace } = updateTimes(settings())
  const { interval, timeout, retries } = defaultSettings().ingress.health_check
  assert.ok(drain > retries * (interval + timeout))
  assert.ok(minReady >= retries * interval + timeout)
  assert.ok(grace > drain + 120)
})

test('the client is known by its address in each of the three ways', async () => {
  const of = async (client_address: Settings['ingress']['client_address']) => {
    const data = await configOf(settings({ client_address }))
    return [data['proxy-protocol'], data['real-ip-header'], data['set-real-ip-from'], /listen 80 *(\w*);/.exec(data['http-snippets']!)?.[1]]
  }
  assert.equal(await of('proxy-protocol'), ['True', 'proxy_protocol', '10.0.0.5,10.0.0.6', 'proxy_protocol'])
  assert.equal(await of('x-forwarded-for'), ['False', 'X-Forwarded-For', '10.0.0.5,10.0.0.6', ''])
  assert.equal(await of('none'), ['False', 'X-Forwarded-For', 'unix:', ''])
})

test('the health check answers at the path and by the name that the load balancers are configured with', async () => {
  const health_check = { ...defaultSettings().ingress.health_check, path: '/alive', host: 'check.keybuzz.io' }
  const snippet = (await configOf(settings({ health_check })))['http-snippets']!
  assert.match(snippet, /location = \/alive \{/)
  assert.match(snippet, /server_name "" healthz\.keybuzz\.internal check\.keybuzz\.io /)
})

test('the DaemonSet is filled in with the image and the times', async () => {
  const daemon = parse(await readManifest('05_ingress/daemonset.yaml', manifestValues(settings()).daemonset)) as {
    spec: { minReadySeconds: number; template: { spec: { containers: { image: string; lifecycle: object }[]; terminationGracePeriodSeconds: number } } }
  }
  const { minReadySeconds, template: { spec } } = daemon.spec
  assert.is(spec.containers[0]!.image, 'docker.io/nginx/nginx-ingress:5.5.4')
  assert.equal([minReadySeconds, spec.terminationGracePeriodSeconds], [70, 220])
  assert.match(JSON.stringify(spec.containers[0]!.lifecycle), /sleep 90/)
})

const hosts = ['a', 'b'].map((name, index): Host => ({
  name, address: `10.0.0.11${index}`, publicAddress: '', user: 'root', fqdn: '', role: 'agent', stack: '', pool: 'general', line: 2
}))
const { signal } = new AbortController()
const askedThrough: string[] = []
const faults = (answers: string[], abort = signal): Promise<string> => {
  askedThrough.length = 0
  return canaryFaults({ kubectl: fakeKubectl(() => ''), signal: abort, name: 'x' }, { nodes: [hosts[0]!], all: hosts }, settings(), async (address) => {
    askedThrough.push(address)
    return { milliseconds: 1, status: 200, body: answers[askedThrough.length % answers.length]! }
  })
}

test('with --hosts the canary is asked through the chosen nodes, and a pod on any node may answer', async () => {
  assert.match(await faults(['a', 'b']), /^= answered through a /)
  assert.equal(new Set(askedThrough), new Set([hosts[0]!.address, '10.0.0.5', '10.0.0.6']))
})

test('an answer that is no node of the cluster is not the canary', async () => {
  const given = new AbortController()
  setTimeout(() => given.abort(), 50)
  await faults(['somebody else'], given.signal).then(() => assert.unreachable('passed'), (error: Error) => {
    assert.is(error.name, 'AbortError')
  })
})

test('the canary by hand: made, asked for through nodes and load balancers, removed', async () => {
  const lines = (await canaryByHand('canary', hosts, settings({ client_address: 'proxy-protocol' }))).split('\n')
  const end = lines.indexOf('END')
  const { spec } = parse(lines.slice(1, end).join('\n')) as { spec: { rules: { host: string }[] } }
  assert.is(spec.rules[0]?.host, 'canary.keybuzz.internal')
  assert.equal([lines[0], ...lines.slice(end + 2)], [
    "kubectl apply -f - <<'END'",
    'for address in 10.0.0.110 10.0.0.111; do',
    `  echo "== $address"; curl -i --max-time 5 --haproxy-protocol -H 'Host: canary.keybuzz.internal' http://$address/name`,
    'done',
    'for address in 10.0.0.5 10.0.0.6; do',
    `  echo "== $address"; curl -i --max-time 5 -H 'Host: canary.keybuzz.internal' http://$address/name`,
    'done',
    'kubectl -n keybuzz-netcheck delete ingress canary'
  ])
})

test.run()
