// What the scripts rely on in K3s, each with where K3s says so. It runs against whichever k3s the lab has: the official
// release or the lab's own, which must not differ here. The cluster is as the scripts have left it, and stays so. What
// waits long is in test/lab/long/01-contract.test.mts.
import * as assert from 'uvu/assert'
import { exec, labUp } from '../nodes.mts'
import { everyNode, kubectl, masters, nodesThatAre, on, tryKubectl, until, workers } from './cluster.mts'
import { test } from './timed.mts'

await labUp()

const [first, second, third] = masters as [string, string, string]
const [worker, other] = workers as [string, string]
const data = '/var/lib/rancher/k3s'
const jsonOf = async (...args: string[]): Promise<unknown> => JSON.parse(await kubectl(...args, '-o', 'json'))

type Node = {
  metadata: { name: string; labels: Record<string, string>; annotations: Record<string, string> }
  status: { addresses: { type: string; address: string }[]; nodeInfo: { kubeletVersion: string } }
}
const nodes = async (): Promise<Node[]> => ((await jsonOf('get', 'nodes')) as { items: Node[] }).items
const addressOf = async (name: string): Promise<string> => internal((await nodes()).find(({ metadata }) => metadata.name === name)!)
const internal = (node: Node): string => node.status.addresses.find(({ type }) => type === 'InternalIP')?.address ?? ''

/** Status and body of a GET on a server's 6443, as seen from another node; credentials travel on stdin. */
const get = async (path: string, credentials?: string): Promise<{ status: string; body: string }> => {
  const address = await on(first, `sed -n 's/^node-ip: *//p' /etc/rancher/k3s/config.yaml | tr -d '"'`)
  const { stdout } = await exec(
    first,
    `curl -sk ${credentials === undefined ? '' : '-K -'} -w '\\n%{http_code}' https://${address}:6443${path}`,
    credentials === undefined ? {} : { input: `user = "${credentials}"\n` }
  )
  const lines = stdout.split('\n')
  return { status: lines.at(-1) ?? '', body: lines.slice(0, -1).join('\n') }
}

const token = (name: string): Promise<string> => on(first, `cat ${data}/server/${name}`)
const secretOf = (secure: string): string => secure.split('::')[1]!

test('--version names k3s, and nodes report that version (k3s: cmd/k3s/main.go, pkg/version)', async () => {
  const said = await on(first, 'k3s --version')
  const [, version] = /^k3s version (v\d+\.\d+\.\d+\+k3s\d+\S*) \(\w+\)/.exec(said) ?? []
  assert.ok(version, said)
  for (const node of await nodes()) assert.is(node.status.nodeInfo.kubeletVersion, version)
})

test('an unknown key of the configuration is skipped with a warning (k3s: pkg/configfilearg/parser.go)', async () => {
  const file = '/run/contract.yaml'
  await on(first, `echo 'no-such-key: true' > ${file}`)
  const { stderr, stdout, exitCode } = await exec(first, `k3s etcd-snapshot ls --config ${file}; code=$?; rm ${file}; exit $code`)
  assert.is(exitCode, 0, stderr)
  assert.match(stderr + stdout, 'Unknown flag --no-such-key found in config.yaml, skipping')
})

test('tokens on disk are secure: K10, SHA-256 of the CA, user, secret (docs: cli/token.md; k3s: pkg/clientaccess)', async () => {
  const hash = await on(first, `sha256sum < ${data}/server/tls/server-ca.crt | cut -d' ' -f1`)
  assert.match(await token('token'), new RegExp(`^K10${hash}::server:\\w+$`))
  assert.is(await token('node-token'), await token('token'))
  assert.match(await token('agent-token'), new RegExp(`^K10${hash}::(node|server):\\w+$`))
  for (const server of [second, third]) assert.is(await on(server, `cat ${data}/server/token`), await token('token'))
})

test('6443 answers /ping and /cacerts to anybody, the API to nobody unknown (k3s: pkg/server/handlers/router.go)', async () => {
  assert.equal(await get('/ping'), { status: '200', body: 'pong' })
  const ca = await get('/cacerts')
  assert.is(ca.status, '200')
  assert.is(ca.body.trim(), await on(first, `cat ${data}/server/tls/server-ca.crt`))
  for (const path of ['/readyz', '/livez', '/v1-k3s/config', '/v1-k3s/server-bootstrap']) assert.is((await get(path)).status, '401', path)
})

test('an agent token opens what agents need and not what servers share (k3s: pkg/server/handlers/router.go)', async () => {
  const agent = secretOf(await token('agent-token'))
  const server = secretOf(await token('token'))
  assert.is((await get('/v1-k3s/config', agent)).status, '200')
  assert.is((await get('/v1-k3s/config', 'node:wrong')).status, '401')
  if (agent !== server) assert.match((await get('/v1-k3s/server-bootstrap', agent)).status, /^40[13]$/)
  assert.is((await get('/v1-k3s/server-bootstrap', server)).status, '200')
})

test('the certificate of 6443 holds what tls-san names (docs: cli/server.md, tls-san)', async () => {
  const wanted = await on(first, `sed -n '/^tls-san:/,/^[a-z]/ s/^ *- *//p' /etc/rancher/k3s/config.yaml | tr -d '"'`)
  const held = await on(first, 'openssl s_client -connect 127.0.0.1:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName')
  assert.ok(wanted.length > 0)
  for (const name of [...wanted.split('\n'), '127.0.0.1', '10.43.0.1', 'kubernetes.default.svc']) assert.match(held, name)
})

test('etcd tells its health and metrics in plain HTTP on 2381 of loopback and of node-ip (docs: cli/server.md, etcd-expose-metrics; k3s: pkg/etcd/etcd.go, listenMetricsURLs)', async () => {
  for (const server of masters) {
    const address = await addressOf(server)
    assert.match(await on(server, 'curl -sf http://127.0.0.1:2381/health'), '"health":"true"')
    const metrics = await on(server, `curl -sf http://${address}:2381/metrics`)
    for (const line of ['etcd_server_has_leader 1', 'etcd_server_is_learner 0']) assert.match(metrics, line)
    assert.match(metrics, /^etcd_disk_wal_fsync_duration_seconds_count \d+/m)
    const listening = await on(server, "ss -Hltn 'sport = 2381' | awk '{ print $4 }'")
    assert.equal(listening.split('\n').toSorted(), [`${address}:2381`, '127.0.0.1:2381'])
  }
})

/** Has a service account that may read metrics, as Prometheus may, while something is done with its token. */
const withReader = async (use: (token: string) => Promise<void>): Promise<void> => {
  const [name, rbac] = ['contract', 'rbac.authorization.k8s.io']
  const items = [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'default' } },
    {
      apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name },
      rules: [{ apiGroups: [''], resources: ['nodes/metrics'], verbs: ['get'] }, { nonResourceURLs: ['/metrics'], verbs: ['get'] }]
    },
    {
      apiVersion: `${rbac}/v1`, kind: 'ClusterRoleBinding', metadata: { name },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name }, subjects: [{ kind: 'ServiceAccount', name, namespace: 'default' }]
    }
  ]
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
  const { exitCode, stderr } = await tryKubectl(['create', '-f', '-'], { input: list })
  try {
    assert.is(exitCode, 0, stderr)
    await use(await kubectl('create', 'token', name))
  } finally {
    for (const kind of ['clusterrolebinding', 'clusterrole', 'serviceaccount']) await kubectl('delete', kind, name, '--ignore-not-found')
  }
}

/** Status and body of a page of metrics, as seen from the first server; the token travels on stdin. */
const scrape = async (url: string, bearer = ''): Promise<{ status: string; body: string }> => {
  const { stdout } = await exec(first, `curl -sk -K - -w '\n%{http_code}' ${url}`, {
    input: bearer === '' ? '\n' : `header = "Authorization: Bearer ${bearer}"\n`
  })
  const end = stdout.lastIndexOf('\n')
  return { status: stdout.slice(end + 1), body: stdout.slice(0, end) }
}

/** The page, once the reader's permission is known there. */
const page = async (url: string, reader: string): Promise<string> => {
  await until(`${url} answers the reader`, 60, async () => (await scrape(url, reader)).status === '200')
  return (await scrape(url, reader)).body
}

test("metrics are for who may read them: /metrics of 6443, nodes/metrics of the kubelet's 10250 (docs: reference/metrics.md; k3s: pkg/metrics)", async () => {
  const address = await addressOf(first)
  await withReader(async (reader) => {
    const stranger = await kubectl('create', 'token', 'default')
    for (const path of ['6443/metrics', '10250/metrics', '10250/metrics/cadvisor']) {
      const url = `https://${address}:${path}`
      await page(url, reader)
      assert.is((await scrape(url, stranger)).status, '403', url)
      assert.is((await scrape(url)).status, '401', url)
    }
  })
})

const ofEveryComponent = [
  'apiserver_request_total', 'etcd_request_duration_seconds_count', 'kubelet_running_pods',
  'kubeproxy_sync_proxy_rules_duration_seconds_count', 'k3s_certificate_expiration_seconds'
]

test('one process has one registry: each port shows what all its components count (docs: reference/metrics.md; k3s: issue 2262, pkg/daemons/executor/embed.go)', async () => {
  const server = await addressOf(first)
  await withReader(async (reader) => {
    for (const port of [6443, 10250]) {
      const shown = await page(`https://${server}:${port}/metrics`, reader)
      for (const name of ofEveryComponent) assert.match(shown, new RegExp(`^${name}[{ ]`, 'm'))
      assert.not.match(shown, /^etcd_server_has_leader /m, "etcd's own are on 2381 alone")
      const left = /^k3s_certificate_expiration_seconds\{subject="CN=kube-apiserver",usages="ServerAuth"\} (\S+)$/m.exec(shown)?.[1]
      assert.ok(Number(left) > 30 * 86_400, left)
    }
  })
})

test('an agent shows its own metrics and its way to the servers, on 10250 alone (k3s: pkg/agent/loadbalancer/metrics.go, pkg/certmonitor)', async () => {
  const [server, agent] = [await addressOf(first), await addressOf(worker)]
  await withReader(async (reader) => {
    const shown = await page(`https://${agent}:10250/metrics`, reader)
    assert.not.match(shown, /^apiserver_request_total\{/m)
    assert.match(shown, new RegExp(`^k3s_loadbalancer_server_health\\{name="k3s-agent-load-balancer",server="${server}:6443"\\} [5-7]$`, 'm'))
    const subject = `CN=system:node:${worker},O=system:nodes`
    assert.match(shown, new RegExp(`^k3s_certificate_expiration_seconds\\{subject="${subject}",usages="ClientAuth"\\} `, 'm'))
  })
  // With supervisor-metrics it would listen there (k3s: pull request 10019, pkg/agent/https).
  assert.is(await on(worker, "ss -Hltn 'sport = 6443'"), '')
})

test('cAdvisor names the containers of a pod, and counts its network (k3s: pkg/daemons/agent/agent_linux.go, --containerd)', async () => {
  const columns = 'jsonpath={.items[0].metadata.name} {.items[0].status.hostIP}'
  const [pod, address] = (await inSystem('get', 'pods', '-l', 'k8s-app=kube-dns', '-o', columns)).split(' ')
  const series = (name: string, container: string): RegExp =>
    new RegExp(`^${name}\\{container="${container}",[^}]*namespace="kube-system",pod="${pod}"\\} [1-9]`, 'm')
  await withReader(async (reader) => {
    await until(`${pod} is told`, 90, async () => {
      const { body } = await scrape(`https://${address}:10250/metrics/cadvisor`, reader)
      return series('container_memory_working_set_bytes', 'coredns').test(body) && series('container_network_receive_bytes_total', '').test(body)
    })
  })
})

test('servers are control-plane and etcd, and say that they vote (k3s: pkg/server/server.go, pkg/etcd/etcd.go)', async () => {
  assert.equal(await nodesThatAre('EtcdIsVoter'), masters)
  for (const node of await nodes()) {
    const server = masters.includes(node.metadata.name)
    for (const role of ['control-plane', 'etcd']) {
      assert.is(node.metadata.labels[`node-role.kubernetes.io/${role}`], server ? 'true' : undefined, `${node.metadata.name} ${role}`)
    }
    assert.is(node.metadata.labels['node-role.kubernetes.io/master'], undefined)
    if (server) assert.is(node.metadata.annotations['etcd.k3s.cattle.io/node-address'], internal(node))
  }
})

test('a member is named after its node, with a tail of its own (k3s: pkg/etcd/etcd.go, setName)', async () => {
  for (const server of masters) assert.match(await on(server, `cat ${data}/server/db/etcd/name`), new RegExp(`^${server}-[0-9a-f]{8}$`))
})

test('flannel takes flannel-iface, not the default route, and 50 bytes of its MTU (docs: networking/basic-network-options.md)', async () => {
  for (const node of await nodes()) {
    const { name, annotations } = node.metadata
    assert.is(annotations['flannel.alpha.coreos.com/public-ip'], internal(node), name)
    assert.is(annotations['flannel.alpha.coreos.com/backend-type'], 'vxlan')
    assert.match(annotations['flannel.alpha.coreos.com/backend-data'] ?? '', /"VtepMAC":"/)
    const nic = await on(name, `sed -n 's/^flannel-iface: *//p' /etc/rancher/k3s/config.yaml | tr -d '"'`)
    const mtu = (device: string): Promise<string> => on(name, `cat /sys/class/net/${device}/mtu`)
    assert.is(Number(await mtu('flannel.1')), Number(await mtu(nic)) - 50, name)
    assert.match(await on(name, 'ip -d link show flannel.1'), `local ${internal(node)} dev ${nic}`)
  }
})

test('files lie where K3s lays them, closed to others (docs: reference/env-variables.md, cli/server.md; k3s: pkg/daemons/control/deps)', async () => {
  const wanted = [
    '600 /etc/rancher/k3s/k3s.yaml', '600 /etc/rancher/node/password', `700 ${data}/server/db/etcd`, `600 ${data}/server/token`,
    `600 ${data}/server/tls/server-ca.key`, `600 ${data}/server/tls/client-ca.key`, `600 ${data}/server/tls/service.key`
  ]
  const held = await on(first, `stat -c '%a %n' ${wanted.map((line) => line.split(' ')[1]).join(' ')}`)
  assert.equal(held.split('\n'), wanted)
  const rest = [
    'server/tls/etcd/peer-ca.crt', 'server/tls/request-header-ca.crt', 'server/cred/admin.kubeconfig', 'server/manifests',
    'agent/kubelet.kubeconfig', 'agent/client-ca.crt', 'agent/etc/kubelet.conf.d/00-k3s-defaults.conf',
    'agent/etc/containerd/config.toml', 'data/current/bin/k3s'
  ]
  await on(first, `cd ${data} && ls -d ${rest.join(' ')}`)
})

test('images of agent/images are there before anything is pulled (docs: installation/airgap.md)', async () => {
  for (const node of everyNode) assert.match(await on(node, 'k3s ctr images ls -q'), /^docker\.io\/rancher\/mirrored-pause:/m)
})

test('an archive that comes to agent/images later is imported, and pinned (docs: add-ons/import-images.md; k3s: pkg/agent/containerd/watcher.go)', async () => {
  const image = 'docker.io/library/contract:1'
  const listed = (): Promise<string> => on(worker, `k3s ctr -n k8s.io images ls name==${image} | tail -n +2`)
  await on(worker, `k3s ctr -n k8s.io images tag docker.io/rancher/mirrored-pause:3.10.2 ${image}
k3s ctr -n k8s.io images export /run/contract.tar ${image}
k3s ctr -n k8s.io images rm ${image}`)
  try {
    await on(worker, `cp /run/contract.tar ${data}/agent/images/contract.tar`)
    await until('the image is there', 30, async () => (await listed()).includes(image))
    for (const label of ['io.cattle.k3s.pinned=pinned', 'io.cri-containerd.pinned=pinned']) assert.match(await listed(), label)
    await on(worker, `k3s ctr -n k8s.io images rm ${image}; k3s ctr -n k8s.io images import /run/contract.tar`)
    assert.match(await listed(), image)
  } finally {
    await on(worker, `rm -f /run/contract.tar ${data}/agent/images/contract.tar; k3s ctr -n k8s.io images rm ${image} 2>/dev/null || true`)
  }
})

const inSystem = (...args: string[]): Promise<string> => kubectl('-n', 'kube-system', ...args)

test('the packaged addons run from those images (docs: installation/packaged-components.md; k3s: scripts/airgap/image-list.txt)', async () => {
  const images = { coredns: 'mirrored-coredns-coredns', 'metrics-server': 'mirrored-metrics-server', 'local-path-provisioner': 'local-path-provisioner' }
  for (const [name, image] of Object.entries(images)) {
    await until(`${name} is available`, 120, async () => (await inSystem('get', 'deployment', name, '-o', 'jsonpath={.status.availableReplicas}')) !== '')
    assert.match(await inSystem('get', 'deployment', name, '-o', 'jsonpath={.spec.template.spec.containers[*].image}'), new RegExp(`^rancher/${image}:v?\\d`))
    assert.match(await on(worker, 'k3s ctr -n k8s.io images ls -q'), `docker.io/rancher/${image}:`)
  }
})

// The one that the scripts have found in the release.
const busybox = (): Promise<string> =>
  kubectl('-n', 'keybuzz-netcheck', 'get', 'daemonset', 'netcheck', '-o', 'jsonpath={.spec.template.spec.containers[0].image}')

test('the release has the busybox of our pods under the name that containerd knows (k3s: scripts/airgap/image-list.txt)', async () => {
  const images = (await on(worker, 'k3s ctr -n k8s.io images ls -q')).split('\n')
  assert.ok(images.includes(`docker.io/${await busybox()}`), images.join('\n'))
})

type Pod = { name: string; run: (command: string) => Promise<string> }
/** Runs a pod on each of the nodes, which answers on 8080, and what is to be done with them. */
const withPods = async (on: string[], use: (...pods: Pod[]) => Promise<void>): Promise<void> => {
  const pods = on.map((node, index): Pod & { node: string } => {
    const name = `contract-${index + 1}`
    return { name, node, run: (command) => kubectl('exec', name, '--', 'sh', '-c', command) }
  })
  const names = pods.map(({ name }) => name)
  const image = await busybox()
  try {
    await Promise.all(pods.map(({ name, node }) => kubectl('run', name, '--image', image, '--restart', 'Never',
      '--overrides', JSON.stringify({ spec: { nodeName: node, terminationGracePeriodSeconds: 0 } }), '--command', '--', 'httpd', '-f', '-p', '8080')))
    await kubectl('wait', 'pod', ...names, '--for=condition=Ready', '--timeout=60s')
    await use(...pods)
  } finally {
    await kubectl('delete', 'pod', ...names, '--ignore-not-found', '--wait=true', '--timeout=60s')
  }
}

test('pods ask CoreDNS at cluster-dns, for Services and for nodes (docs: networking/networking-services.md; k3s: manifests/coredns.yaml, pkg/node/controller.go)', async () => {
  const address = await inSystem('get', 'service', 'kube-dns', '-o', 'jsonpath={.spec.clusterIP}')
  await withPods([worker], async ({ run }) => {
    assert.match(await run('cat /etc/resolv.conf'), `nameserver ${address}\n`)
    assert.match(await run('nslookup kubernetes.default.svc.cluster.local'), '10.43.0.1')
    for (const node of await nodes()) assert.match(await run(`nslookup -type=a ${node.metadata.name}.`), internal(node))
  })
})

test('what coredns-custom holds is read, before the packaged forward (docs: advanced.md, CoreDNS custom configuration imports; k3s: issue 12979)', async () => {
  const corefile = await inSystem('get', 'configmap', 'coredns', '-o', 'jsonpath={.data.Corefile}')
  assert.ok(corefile.indexOf('import /etc/coredns/custom/*.override') < corefile.indexOf('forward . /etc/resolv.conf'), corefile)
  const was = await inSystem('get', 'configmap', 'coredns-custom', '--ignore-not-found', '-o', 'name')
  if (was === '') await inSystem('create', 'configmap', 'coredns-custom')
  const keys = {
    'contract.override': 'template IN A contract.invalid {\n  answer "{{ .Name }} 5 IN A 198.51.100.1"\n}\n',
    'contract.server': 'contract.test:53 {\n  template IN A {\n    answer "{{ .Name }} 5 IN A 198.51.100.2"\n  }\n}\n'
  }
  const patch = (of: Record<string, string | null>): Promise<string> =>
    inSystem('patch', 'configmap', 'coredns-custom', '--type', 'merge', '-p', JSON.stringify({ data: of }))
  try {
    await patch(keys)
    // A kubelet looks at a ConfigMap again at once where its pod changes, CoreDNS at its files every 30 to 45 seconds.
    await inSystem('annotate', 'pods', '-l', 'k8s-app=kube-dns', 'contract=read', '--overwrite')
    await withPods([worker], async ({ run }) => {
      await until('both keys count', 150, async () =>
        (await run('nslookup -type=a one.contract.invalid.')).includes('198.51.100.1') &&
        (await run('nslookup -type=a one.contract.test.')).includes('198.51.100.2'))
    })
  } finally {
    if (was === '') await inSystem('delete', 'configmap', 'coredns-custom')
    else await patch({ 'contract.override': null, 'contract.server': null })
    await inSystem('annotate', 'pods', '-l', 'k8s-app=kube-dns', 'contract-')
  }
})

/** Has a NetworkPolicy for a pod while something is done under it. */
const withPolicy = async ({ name }: Pod, spec: object, use: (change: (spec: object) => Promise<string>) => Promise<void>): Promise<void> => {
  const policy = {
    apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'contract', namespace: 'default' },
    spec: { podSelector: { matchLabels: { run: name } }, ...spec }
  }
  const { exitCode, stderr } = await tryKubectl(['create', '-f', '-'], { input: JSON.stringify(policy) })
  assert.is(exitCode, 0, stderr)
  try {
    await use((change) => kubectl('patch', 'networkpolicy', 'contract', '--type', 'merge', '-p', JSON.stringify({ spec: change })))
  } finally {
    await kubectl('delete', 'networkpolicy', 'contract')
  }
}

// Whether 8080 of an address answers a pod or a node. K3s rejects what no rule allows; that nothing answers is as good.
const answers = async ({ run }: Pod, address: string): Promise<boolean> =>
  (await run(`printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 ${address} 8080 2>/dev/null | grep -c '^HTTP/' || true`)) === '1'
const answersNode = async (node: string, user: string, address: string): Promise<boolean> =>
  (await exec(node, `setpriv --reuid ${user} --clear-groups curl -s -o /dev/null --max-time 1 http://${address}:8080`)).exitCode === 0

test('a NetworkPolicy lets in and out what its rules say, and in what the pod\'s own node sends (docs: networking/networking-services.md; k3s: pkg/agent/netpol; kube-router: pkg/controllers/netpol/pod.go; flannel: pkg/backend/vxlan)', async () => {
  await withPods([worker, other], async (pod, another) => {
    const addresses = await kubectl('get', 'pod', pod.name, another.name, '-o', 'jsonpath={.items[*].status.podIP}')
    const [here, there] = addresses.split(' ') as [string, string]
    const [otherPod, otherNode] = [() => answers(another, here), () => answersNode(other, 'root', here)]
    await until('a pod on another node is answered, and that node', 10, async () => await otherPod() && await otherNode())
    await withPolicy(pod, { policyTypes: ['Ingress'] }, async (change) => {
      await until('a pod on another node is shut out', 20, async () => !(await otherPod()))
      assert.not(await otherNode(), 'another node is shut out')
      for (const user of ['root', 'nobody']) await until(`the pod's own node is let in, as ${user}`, 5, () => answersNode(worker, user, here))
      // What another node sends, its nginx too, comes from the first address of its range, which is a /24.
      await change({ ingress: [{ from: [{ ipBlock: { cidr: there.replace(/\d+$/, '0/32') } }], ports: [{ port: 8080 }] }] })
      await until('the other node is let in', 20, otherNode)
      assert.not(await otherPod(), 'its pod is still shut out')
    })
    await until('without the policy all are let in again', 10, otherPod)

    const reached = (): Promise<boolean> => answers(pod, there)
    const named = async (): Promise<boolean> =>
      (await pod.run('nslookup -timeout=1 -retry=1 -type=a kubernetes.default.svc.cluster.local. 2>&1 || true')).includes('10.43.0.1')
    await until('a pod on another node is reached, and a name', 10, async () => await reached() && await named())
    await withPolicy(pod, { policyTypes: ['Egress'] }, async (change) => {
      await until('a pod on another node is out of reach', 20, async () => !(await reached()))
      assert.not(await named(), 'a name is out of reach')
      const to = [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } }, podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }]
      await change({ egress: [{ to, ports: [{ protocol: 'UDP', port: 53 }, { protocol: 'TCP', port: 53 }] }] })
      await until('names are within reach', 20, named)
      assert.not(await reached(), 'the pod is still out of reach')
    })
    await until('without the policy all is within reach again', 10, reached)
  })
})

test('the metrics API answers for every node (docs: installation/packaged-components.md; k3s: manifests/metrics-server)', async () => {
  type Metrics = { items: { metadata: { name: string }; usage: { cpu: string; memory: string } }[] }
  const read = async (): Promise<Metrics> => JSON.parse(await kubectl('get', '--raw', '/apis/metrics.k8s.io/v1beta1/nodes')) as Metrics
  await until('there are metrics of all nodes', 120, async () => (await read()).items.length === everyNode.length)
  for (const { metadata, usage } of (await read()).items) {
    assert.match(usage.cpu, /^[1-9]\d*\w$/, metadata.name)
    assert.match(usage.memory, /^[1-9]\d*Ki$/, metadata.name)
  }
})

test('local-path is the default StorageClass, its folder default-local-storage-path (docs: add-ons/storage.md, cli/server.md; k3s: manifests/local-storage.yaml)', async () => {
  const defaults = `{range .items[?(@.metadata.annotations.storageclass\\.kubernetes\\.io/is-default-class=="true")]}{.metadata.name} {.provisioner} {.volumeBindingMode}{"\\n"}{end}`
  assert.is(await kubectl('get', 'storageclass', '-o', `jsonpath=${defaults}`), 'local-path rancher.io/local-path WaitForFirstConsumer')
  const configured = await on(first, `sed -n 's/^default-local-storage-path: *//p' /etc/rancher/k3s/config.yaml | tr -d '"'`)
  const config = JSON.parse(await inSystem('get', 'configmap', 'local-path-config', '-o', 'jsonpath={.data.config\\.json}')) as { nodePathMap: unknown }
  assert.equal(config.nodePathMap, [{ node: 'DEFAULT_PATH_FOR_NON_LISTED_NODES', paths: [configured || `${data}/storage`] }])
})

test('a restart writes the packaged manifests anew, and leaves alone what they do not say (docs: installation/packaged-components.md; k3s: pkg/deploy)', async () => {
  const replicas = (): Promise<string> => inSystem('get', 'deployment', 'coredns', '-o', 'jsonpath={.spec.replicas}')
  const before = await replicas()
  const other = before === '2' ? '3' : '2'
  // Manifests are applied in the order of their names: where the last one is, CoreDNS's was.
  const [packaged, last] = [`${data}/server/manifests/coredns.yaml`, `${data}/server/manifests/zz-contract.yaml`]
  try {
    await inSystem('scale', 'deployment', 'coredns', `--replicas=${other}`)
    await on(first, `echo '# edited' >> ${packaged}
echo '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"contract-last","namespace":"default"}}' > ${last}
systemctl restart k3s`)
    await until('the last manifest is applied', 90, async () => (await kubectl('get', 'configmap', 'contract-last', '-o', 'name')) !== '')
    assert.is(await on(first, `grep -c '^# edited' ${packaged} || true`), '0')
    assert.is(await replicas(), other)
  } finally {
    await on(first, `rm -f ${last}`)
    await kubectl('delete', 'configmap', 'contract-last', '--ignore-not-found')
    await inSystem('scale', 'deployment', 'coredns', `--replicas=${before}`)
  }
  await until('CoreDNS is as it was', 60, async () => (await inSystem('get', 'deployment', 'coredns', '-o', 'jsonpath={.status.readyReplicas}')) === before)
})

test('snapshots are saved under a name, listed, pruned and deleted (docs: cli/etcd-snapshot.md)', async () => {
  const listed = async (): Promise<string[]> =>
    (await on(first, 'k3s etcd-snapshot ls 2>/dev/null')).split('\n').slice(1).map((line) => line.split(/\s+/)[0]!)
      .filter((name) => name.startsWith('contract-'))
  for (let saved = 1; saved <= 3; saved += 1) {
    await on(first, 'sleep 1; k3s etcd-snapshot save --name contract')
    await until('the snapshot is listed', 20, async () => (await listed()).length === saved)
  }
  const names = await listed()
  for (const name of names) assert.match(name, new RegExp(`^contract-${first}-\\d+$`))
  // The server's own process takes them, and counts them since its start (k3s: pkg/etcd/snapshot_handler.go, snapshotmetrics).
  const counted = await on(first, 'k3s kubectl get --raw /metrics | grep "^k3s_etcd_snapshot_save_duration_seconds_count"')
  assert.ok(Number(/\{status="success"\} (\d+)$/.exec(counted)?.[1]) >= 3, counted)
  await on(first, `test -s ${data}/server/db/snapshots/${names[0]}`)
  await on(first, 'k3s etcd-snapshot prune --name contract --snapshot-retention 1')
  await until('one is kept', 20, async () => (await listed()).length === 1)
  await on(first, `k3s etcd-snapshot delete ${(await listed())[0]}`)
  await until('none is left', 20, async () => (await listed()).length === 0)
})

test('certificates can be checked (docs: cli/certificate.md)', async () => {
  const { stdout, stderr, exitCode } = await exec(first, 'k3s certificate check')
  assert.is(exitCode, 0, stderr)
  assert.match(stdout + stderr, /CN=system:admin,O=system:masters is ok, expires at \d{4}-/)
})

test('Secrets are encrypted at rest, with the same key on all servers (docs: security/secrets-encryption.md)', async () => {
  assert.match(await on(first, 'k3s secrets-encrypt status 2>&1'), 'Encryption Status: Enabled')
  const keys = await Promise.all(masters.map((server) => on(server, `sha256sum < ${data}/server/cred/encryption-config.json`)))
  assert.is(new Set(keys).size, 1)
})

test('an agent knows every server and reaches the API through itself (docs: architecture.md; k3s: pkg/agent/loadbalancer)', async () => {
  const kept = await on(worker, `cat ${data}/agent/etc/k3s-agent-load-balancer.json`)
  for (const node of (await nodes()).filter(({ metadata }) => masters.includes(metadata.name))) assert.match(kept, `${internal(node)}:6443`)
  const seen = await on(worker, `cd ${data}/agent && curl -sf --cacert server-ca.crt --cert client-kubelet.crt --key client-kubelet.key https://127.0.0.1:6444/api/v1/nodes/${worker}`)
  assert.is((JSON.parse(seen) as Node).metadata.name, worker)
})

test('containers outlive a stop of the service (docs: upgrades/killall.md, KillMode=process)', async () => {
  const shims = 'pgrep -f "[c]ontainerd-shim-runc-v2" | sort | tr "\\n" " "'
  await kubectl('run', 'contract', '--image', await busybox(), '--restart', 'Never',
    '--overrides', JSON.stringify({ spec: { nodeName: worker, terminationGracePeriodSeconds: 0 } }), '--command', '--', 'sleep', '600')
  try {
    await until('the pod runs', 60, async () => (await kubectl('get', 'pod', 'contract', '-o', 'jsonpath={.status.phase}')) === 'Running')
    const before = await on(worker, shims)
    assert.ok(before.length > 0)
    await on(worker, 'systemctl stop k3s-agent')
    assert.is(await on(worker, shims), before)
  } finally {
    await on(worker, 'systemctl start k3s-agent')
    await kubectl('delete', 'pod', 'contract', '--wait=false')
  }
  await until(`${worker} is Ready`, 60, async () => (await nodesThatAre('Ready')).includes(worker))
})

test('a service that has started serves: its own /readyz holds (k3s: pkg/cli/server/server.go, SdNotify)', async () => {
  await on(third, 'systemctl restart k3s')
  assert.is(await on(third, 'k3s kubectl get --raw /readyz'), 'ok')
})

test.run()
